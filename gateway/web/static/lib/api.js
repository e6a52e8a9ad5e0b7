// The one way to the station. Every request has a deadline; an error is one line with a hint.
export class Failed extends Error {
  constructor(status, error, hint) { super(error); this.status = status; this.hint = hint || ""; }
}

const WITHIN_MS = 25000;
export const session = { face: "public", signed_in: false, csrf: "", name: "", needs_setup: false, version: "" };

async function ask(path, options, within_ms = WITHIN_MS) {
  const stop = new AbortController();
  const timer = setTimeout(() => stop.abort(), within_ms);
  try {
    const answer = await fetch(path, { ...options, signal: stop.signal, credentials: "same-origin" });
    const said = await answer.json().catch(() => ({}));
    if (!answer.ok) throw new Failed(answer.status, said.error || answer.statusText, said.hint);
    return said;
  } catch (e) {
    if (e instanceof Failed) throw e;
    throw new Failed(0, "offline", "");
  } finally { clearTimeout(timer); }
}

export const get = (path, query) => {
  const given = Object.entries(query || {}).filter(([, v]) => v !== undefined && v !== null && v !== "");
  return ask(given.length ? `${path}?${new URLSearchParams(given)}` : path, {});
};

export const post = (path, body, within_ms) => ask(path, {
  method: "POST", body: JSON.stringify(body || {}),
  headers: { "Content-Type": "application/json", "X-CSRF-Token": session.csrf },
}, within_ms);

export async function whoLooks() {
  Object.assign(session, await get("/api/session"));
  return session;
}
