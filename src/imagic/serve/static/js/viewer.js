// One edit, in whatever state it is: waiting, at work, done, failed or cancelled.
import { fileOf, get, post, watch } from "./api.js";
import { compare, hideCompare } from "./compare.js";
import { askAs, editFurther } from "./composer.js";
import { byId, make, picture, show, write } from "./dom.js";
import { showDownloads } from "./downloads.js";
import { askFamily, facts, inputOf, keepFamily, picturesOf, showStrip } from "./family.js";
import { methodName } from "./methods.js";
import { guarded, tell } from "./notice.js";
import { showVariations } from "./variations.js";
import { progressWords, stateWords } from "./words.js";

const developing = byId("developing");
const CANCELLED = "This edit was cancelled. What it had learned is kept for the next one like it.";
let wanted = null; // the id of the edit that is to be shown
let edit = null;
let index = 0;
let stop = () => {};
let changed = () => {};

/** hears: called when the edit that is shown came into another state. */
export const startViewer = (hears) => (changed = hears);

/** Show the edit with that id, and its picture of that index; null: none. */
export async function open(id, at) {
  index = at;
  if (id === wanted) return draw();
  wanted = id;
  stop();
  if (id === null) {
    edit = null;
    return draw();
  }
  const found = await get(`/edits/${id}`);
  if (wanted !== id) return;
  await hear(found);
  if (!found.ended && wanted === id) stop = watch(id, hear, lost);
}

async function hear(found) {
  const before = edit?.id === found.id ? edit.state : null;
  if (before === found.state) {
    edit = found;
    return draw();
  }
  const family = await askFamily(found.id).catch(() => [found]);
  if (wanted !== found.id) return;
  edit = found;
  keepFamily(family);
  tell(`${found.text}: ${found.state === "failed" ? found.error : stateWords(found)}`);
  draw();
  changed();
}

/** The service is away, or the edit is gone. */
function lost(problem) {
  if (problem.status === 404) location.hash = "";
  else write(byId("working-words"), "The service is away; the edit goes on when it is back.");
}

const imageOf = () => edit.images.find((each) => each.index === index) ?? edit.images[0];

function draw() {
  const image = edit && imageOf();
  const works = edit !== null && !edit.ended;
  show(byId("welcome"), !edit);
  write(byId("viewer-title"), edit ? edit.text : "The result");
  write(byId("viewer-note"), edit ? note(image) : "");
  document.title = edit ? `${share()}${edit.text} – imagic` : "imagic";
  byId("viewer").setAttribute("aria-busy", works);
  drawPicture(image);
  if (show(byId("working"), works)) drawWork();
  if (show(byId("failure"), edit?.ended && !image)) write(byId("failure"), edit.error ?? CANCELLED);
  if (show(byId("warnings"), edit?.warnings.length)) drawWarnings();
  if (show(byId("downloads"), image)) showDownloads(edit, image.index);
  show(byId("actions"), edit);
  show(byId("further"), image);
  if (edit) showStrip(edit, image);
  else show(byId("strip"), false);
  showVariations(edit, image);
}

const note = (image) =>
  [methodName(edit.method), image && facts(edit.method, image), `${edit.width} × ${edit.height} pixels`]
    .filter(Boolean)
    .join(" · ");

function share() {
  const { progress } = edit;
  return edit.state === "running" && progress ? `${Math.floor((100 * progress.step) / progress.total)} % · ` : "";
}

/** The result, or how it looks so far, beside the input; the input alone while there is neither. */
function drawPicture(image) {
  const preview = edit?.state === "running" && edit.progress?.preview;
  const last = edit?.ended ? null : picturesOf().at(-1); // stays in view while another one of its fit is made
  let result = null;
  let words = `The result: ${edit?.text}`;
  if (image) result = fileOf(edit.id, "result", `?index=${image.index}`);
  else if (preview) [result, words] = [fileOf(edit.id, "preview", `?${edit.attempts}-${preview}`), "The result so far"];
  else if (last) [result, words] = [fileOf(last.id, "result", `?index=${last.index}`), "The result before"];
  if (result) compare(edit, inputOf(edit), result, words);
  else hideCompare();
  if (!show(developing, edit && !result)) return;
  developing.style.setProperty("--ratio", edit.width / edit.height);
  developing.classList.toggle("learning", edit.state === "running");
  picture(developing.querySelector("img"), inputOf(edit));
}

function drawWork() {
  const { progress } = edit;
  const bar = byId("working-bar");
  write(byId("working-words"), progressWords(edit));
  if (progress && edit.state === "running") Object.assign(bar, { max: progress.total, value: progress.step });
  else bar.removeAttribute("value");
  show(byId("cancel"), !edit.cancelling);
}

function drawWarnings() {
  const [heading, list] = byId("warnings").children;
  write(heading, edit.warnings.length === 1 ? "A warning" : `${edit.warnings.length} warnings`);
  list.replaceChildren(...edit.warnings.map((textContent) => make("li", { textContent })));
}

byId("cancel").addEventListener("click", guarded(async () => hear(await post(`/edits/${edit.id}/cancel`))));
byId("reuse").addEventListener("click", guarded(() => askAs(edit)));
byId("further").addEventListener("click", guarded(() => editFurther(edit.id, imageOf().index)));
