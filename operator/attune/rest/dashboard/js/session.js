// Who looks: the token, the namespace, what may be done there. Used by `api`, `main` and the pages.
// The token lives in this module; in sessionStorage only where the person asked for it; nowhere else, in no address and no log.

const KEY = "attune.token";
export const session = { token: null, kept: false, me: null, namespace: null };

function storage(act) {
  try {
    return act(sessionStorage);
  } catch {
    return null; // storage is forbidden here: the token stays in memory
  }
}

/** The token that this tab was asked to keep. */
export function recall() {
  session.token = storage((kept) => kept.getItem(KEY));
  session.kept = session.token !== null;
  return session.token;
}

export function remember(token, keep) {
  session.token = token;
  session.kept = keep;
  storage((kept) => (keep ? kept.setItem(KEY, token) : kept.removeItem(KEY)));
}

export function forget() {
  remember(null, false);
  session.me = null;
  session.namespace = null;
  storage((kept) => kept.clear());
}

export const ACTIONS = {
  train: ["create", "trainingjobs", "start a training"],
  deleteRun: ["delete", "trainingjobs", "cancel a run"],
  promote: ["patch", "modelversions", "promote"],
  rollback: ["patch", "modelversions", "roll back"],
  cancelABTest: ["patch", "abtests", "cancel a test"],
};
const READ = ["retrievers", "modelversions", "trainingjobs", "abtests", "trainingschedules"];

/** Why the person may not do it; null where nothing speaks against it. */
export function forbidden(action) {
  if (!session.me || session.me.actions?.[action]) return null;
  const [verb, resource, what] = ACTIONS[action];
  return `${session.me.user} may not ${what} in ${session.namespace}: the verb ${verb} on ${resource}.attune.dev is missing.`;
}

/** Rights that reading needs and the person lacks, as "list retrievers". */
export function missingRights(me) {
  return READ.flatMap((resource) => {
    const lacks = ["get", "list", "watch"].filter((verb) => !me.rights?.[resource]?.includes(verb));
    return lacks.length ? [`${lacks.join(", ")} on ${resource}`] : [];
  });
}
