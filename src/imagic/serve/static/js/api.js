// The service, as /api/v1 describes it. A problem is one sentence.
import { askKey } from "./key.js";

const ROOT = "api/v1";
const JSON_BODY = { "Content-Type": "application/json" };
const AGAIN_MS = 1000;

class Problem extends Error {
  /** status: of the answer; 0 where there was none. */
  constructor(sentence, status = 0) {
    super(sentence);
    this.status = status;
  }
}

async function ask(method, path, body, headers = {}) {
  for (;;) {
    let answer;
    try {
      answer = await fetch(ROOT + path, { method, body, headers });
    } catch {
      throw new Problem("The service does not answer; it may have been stopped.");
    }
    if (answer.ok) return answer;
    const problem = new Problem(await sentence(answer), answer.status);
    if (answer.status !== 401) throw problem;
    await askKey((key) => logIn(key));
  }
}

async function sentence(answer) {
  const told = await answer.json().catch(() => null);
  return told?.detail ?? told?.error ?? `The service answered with status ${answer.status}.`;
}

async function logIn(key) {
  const body = JSON.stringify({ key });
  const answer = await fetch(`${ROOT}/login`, { method: "POST", body, headers: JSON_BODY });
  if (!answer.ok) throw new Problem("This is not the key of this service.", answer.status);
}

export const get = async (path) => (await ask("GET", path)).json();
export const getBlob = async (path) => (await ask("GET", path)).blob();
export const post = async (path) => (await ask("POST", path)).json();
export const remove = (path) => ask("DELETE", path);

/** Queue an edit. form: FormData of its fields; key: the same for the same request, so that it is made once. */
export async function makeEdit(form, key) {
  return (await ask("POST", "/edits", form, { "Idempotency-Key": key })).json();
}

/** Queue another edit from the fit of one. */
export async function makeAgain(id, asked) {
  return (await ask("POST", `/edits/${id}/again`, JSON.stringify(asked), JSON_BODY)).json();
}

/** How the service is, also where it is not well. */
export async function health() {
  try {
    return await (await fetch(`${ROOT}/health`)).json();
  } catch {
    return { status: "away", error: null };
  }
}

/** The address of a file of an edit: result, thumbnail, input, mask, preview, sheet, animation or state. */
export const fileOf = (id, name, query = "") => `${ROOT}/edits/${id}/${name}${query}`;
export const exampleOf = (name) => `${ROOT}/examples/${name}`;

/** Tell of an edit from now to its end, also over a restart of the service. lost: hears when the service is away.
 * Returns what ends the watching. */
export function watch(id, told, lost) {
  let source = null;
  let timer = 0;
  let over = false;
  const stop = () => {
    over = true;
    source?.close();
    clearTimeout(timer);
  };
  const hear = (edit) => {
    if (over) return;
    if (edit.ended) stop();
    told(edit);
  };
  const open = () => {
    source = new EventSource(fileOf(id, "events"));
    source.addEventListener("edit", (event) => hear(JSON.parse(event.data)));
    source.addEventListener("error", () => {
      source.close();
      if (!over) timer = setTimeout(look, AGAIN_MS);
    });
  };
  // An event source does not say why it ended: the edit may be gone, the key wanted, the service away.
  const look = async () => {
    try {
      hear(await get(`/edits/${id}`));
      if (!over) open();
    } catch (problem) {
      if (over) return;
      lost(problem);
      if (problem.status === 404) stop();
      else timer = setTimeout(look, AGAIN_MS);
    }
  };
  open();
  return stop;
}

/** A key for one request that no other will have; randomUUID is missing on plain HTTP. */
export function requestKey() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
