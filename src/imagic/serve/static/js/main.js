// The page: what is shown follows the address, what is known follows the service.
import { get, health } from "./api.js";
import { fillMethods } from "./choice.js";
import { fillComposer, startComposer } from "./composer.js";
import { byId, write } from "./dom.js";
import { fillHistory, markPresent } from "./history.js";
import { guarded } from "./notice.js";
import { startVariations } from "./variations.js";
import { open, startViewer } from "./viewer.js";

const BUSY_MS = 1500;
const IDLE_MS = 10_000;
const STATES = { ok: "ready", starting: "the model is loading", failing: "cannot make edits", away: "does not answer" };
let filled = false;
let status = "";
let timer = 0;

/** #/ID/INDEX: the edit that is shown, and which of its pictures. */
const route = guarded(async () => {
  const [, id = null, index = "0"] = /^#\/([0-9a-f]{32})(?:\/(\d+))?$/.exec(location.hash) ?? [];
  markPresent(id);
  try {
    await open(id, Number(index));
  } catch (problem) {
    if (problem.status === 404) location.hash = "";
    throw problem;
  }
});

/** Look at the service: how it is, and its edits. Soon again while it is not ready, or one is unfinished. */
async function look() {
  let busy = true;
  try {
    const now = await health();
    say(now.status, now.error);
    if (now.status !== "away") {
      const [unfinished] = await Promise.all([fillHistory(), now.status === status || fill()]);
      busy = unfinished || now.status !== "ok";
    }
    status = now.status;
  } catch (problem) {
    say("failing", problem.message);
  }
  clearTimeout(timer);
  timer = setTimeout(look, busy ? BUSY_MS : IDLE_MS);
}

function say(state, problem) {
  byId("service").dataset.status = state;
  write(byId("service"), problem ?? STATES[state]);
}

/** What the service alone knows: limits and examples once, methods whenever its state changed. */
async function fill() {
  await fillMethods();
  if (filled) return;
  await route();
  await fillComposer(await get("/limits"));
  filled = true;
}

function goTo(id, index) {
  location.hash = `#/${id}/${index}`;
  look();
}

startComposer((edit) => {
  goTo(edit.id, 0);
  byId("viewer").scrollIntoView({ block: "start" });
  byId("viewer").focus({ preventScroll: true });
});
startVariations(goTo);
startViewer(look);
addEventListener("hashchange", route);
look();
