// Light or dark, before the first paint: a plain script in the head, so that a dark page never flashes white.
// The choice is kept in localStorage; without one the system's is followed.
try {
  const chosen = localStorage.getItem("attune.theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch {
  // storage is forbidden here: the system's choice it is
}
