// Requests to the service: addresses below this page's own, the API key, problems, lost connections.
const BASE = new URL("..", import.meta.url); // works behind a path prefix
const KEY = "visavis-key";
const PAUSES = [1, 2, 4, 8]; // seconds between attempts while the service is away

export const address = (path) => new URL(path.replace(/^\//, ""), BASE);

// Path of a URL from an answer: a proxy with a path prefix is unknown to the service.
export function local(url, folder) {
  const { pathname, search, origin } = new URL(url, BASE);
  const from = pathname.indexOf(`/${folder}/`);
  if (from < 0) return url; // the link leads to a bucket
  return String(address(pathname.slice(from) + search)).replace(location.origin, "") || origin;
}

export const key = () => sessionStorage.getItem(KEY) ?? localStorage.getItem(KEY);

export function keepKey(value, { onDisk }) {
  (onDisk ? localStorage : sessionStorage).setItem(KEY, value);
}

export function forgetKey() {
  for (const storage of [sessionStorage, localStorage]) storage.removeItem(KEY);
}

// A problem of api/problems.py: its sentence, code, and the fields that it names.
export class Problem extends Error {
  constructor(status, body) {
    super(body.detail ?? `The server answered ${status}; try again in a minute.`);
    this.status = status;
    this.code = body.code ?? body.type;
    this.fields = body.errors ?? [];
  }
}

export class ConnectionLost extends Error {
  constructor() {
    super("Connection lost: the service did not answer. Press again in a moment; nothing is made twice.");
  }
}

const told = { lost: () => {}, found: () => {}, refused: () => {} };

// Set what happens when the connection is lost or found again, and when the service refuses the key.
export function onConnection(handlers) {
  Object.assign(told, handlers);
}

export async function send(path, { headers = {}, ...options } = {}) {
  const token = key();
  const authorization = token ? { Authorization: `Bearer ${token}` } : {};
  let response;
  try {
    response = await fetch(address(path), { ...options, headers: { ...headers, ...authorization } });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    told.lost();
    throw new ConnectionLost();
  }
  told.found();
  if (response.ok || response.status === 304) return response;
  const problem = new Problem(response.status, await response.json().catch(() => ({})));
  if (response.status === 401) told.refused(problem);
  throw problem;
}

export const pause = (seconds) => new Promise((resume) => setTimeout(resume, 1000 * seconds));

// Call until the service answers: a restart of the service costs a pause, not the page.
export async function persist(request) {
  for (let attempt = 0; ; attempt++) {
    try {
      return await request();
    } catch (error) {
      const away = error instanceof ConnectionLost || [502, 503, 504].includes(error.status);
      if (!away) throw error;
      told.lost();
    }
    await pause(PAUSES[Math.min(attempt, PAUSES.length - 1)]);
  }
}

export const read = (path) => persist(async () => (await send(path)).json());

export async function post(path, body) {
  const json = body === undefined ? {} : { body: JSON.stringify(body), headers: { "Content-Type": "application/json" } };
  return (await send(path, { method: "POST", ...json })).json();
}

export const remove = (path) => send(path, { method: "DELETE" });
