// Every edit, the newest first, as the service keeps them.
import { fileOf, get, post, remove } from "./api.js";
import { byId, copyOf, picture, show, write } from "./dom.js";
import { methodName } from "./methods.js";
import { guarded } from "./notice.js";
import { moment, stateWords } from "./words.js";

const PAGE = 24;
const list = byId("history");
const cards = new Map();
let pages = 1;
let present = null;

/** Ask for the edits, and show them. Returns whether any is unfinished. */
export async function fillHistory() {
  const edits = [];
  let next = null;
  for (let page = 0; page < pages && (page === 0 || next); page += 1) {
    const part = await get(`/edits?limit=${PAGE}${next ? `&before=${next}` : ""}`);
    edits.push(...part.edits);
    next = part.next;
  }
  show(byId("history-empty"), !edits.length);
  show(byId("older"), next !== null);
  const ids = new Set(edits.map((each) => each.id));
  for (const [id, card] of cards) {
    if (!ids.has(id)) {
      card.remove();
      cards.delete(id);
    }
  }
  edits.forEach((edit, place) => {
    const card = cards.get(edit.id) ?? makeCard(edit);
    draw(card, edit);
    if (list.children[place] !== card) list.insertBefore(card, list.children[place] ?? null);
  });
  return edits.some((each) => !each.ended);
}

/** Mark the edit that is shown. */
export function markPresent(id) {
  present = id;
  for (const [each, card] of cards) mark(card, each);
}

function mark(card, id) {
  if (id === present) card.querySelector("a").setAttribute("aria-current", "true");
  else card.querySelector("a").removeAttribute("aria-current");
}

function makeCard(edit) {
  const card = copyOf("card-template");
  card.querySelector("a").href = `#/${edit.id}`;
  card.querySelector("button").addEventListener(
    "click",
    guarded(async () => {
      if (card.dataset.ended && !confirm("Delete this edit with its pictures and its fit?")) return;
      if (card.dataset.ended) await remove(`/edits/${edit.id}`);
      else await post(`/edits/${edit.id}/cancel`);
      if (card.dataset.ended && edit.id === present) location.hash = "";
      await fillHistory();
    }),
  );
  cards.set(edit.id, card);
  return card;
}

function draw(card, edit) {
  const first = edit.images[0];
  picture(card.querySelector("img"), fileOf(edit.id, "thumbnail", first ? `?index=${first.index}` : ""));
  write(card.querySelector(".text"), edit.text);
  const place = edit.state === "queued" ? `, number ${edit.position}` : "";
  const facts = `${stateWords(edit)}${place} · ${methodName(edit.method)} · ${moment(edit.created)}`;
  write(card.querySelector(".facts"), facts);
  card.dataset.state = edit.state;
  card.dataset.ended = edit.ended ? "yes" : "";
  const bar = card.querySelector("progress");
  if (show(bar, edit.state === "running" && edit.progress)) {
    Object.assign(bar, { max: edit.progress.total, value: edit.progress.step });
  }
  const button = card.querySelector("button");
  write(button, edit.ended ? "Delete" : "Cancel");
  button.setAttribute("aria-label", `${edit.ended ? "Delete" : "Cancel"}: ${edit.text}, ${moment(edit.created)}`);
  show(button, !edit.cancelling);
  mark(card, edit.id);
}

byId("older").addEventListener(
  "click",
  guarded(async () => {
    pages += 1;
    await fillHistory();
  }),
);
