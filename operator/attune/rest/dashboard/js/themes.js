// The switch between the system's choice, light and dark. `theme.js` reads the choice before the first paint. Used by `main`.

const KEY = "attune.theme";
const NEXT = { system: "light", light: "dark", dark: "system" };

const now = () => document.documentElement.dataset.theme ?? "system";

export function theme(button) {
  const tell = () => {
    button.dataset.now = now();
    button.setAttribute("aria-label", `Theme: ${now()}. Change to ${NEXT[now()]}`);
    button.title = `Theme: ${now()}`;
  };
  button.onclick = () => {
    const next = NEXT[now()];
    if (next === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = next;
    try {
      if (next === "system") localStorage.removeItem(KEY);
      else localStorage.setItem(KEY, next);
    } catch {
      // forbidden: it lasts as long as the page
    }
    tell();
  };
  tell();
}
