// Other pictures from the finished fit of an edit: another strength, other seeds, another mask.
import { fileOf, getBlob, makeAgain, post } from "./api.js";
import { byId, show, write } from "./dom.js";
import { picturesOf } from "./family.js";
import { MaskChoice } from "./mask.js";
import { defaultsOf, methodOf, strengthOf } from "./methods.js";
import { guarded } from "./notice.js";
import { fillOptions, readOptions, showDefaults, writeOptions } from "./options.js";
import { number } from "./words.js";

const SETTLES_MS = 400; // after the last move of the slider
const SERIES = [0, 0.25, 0.5, 0.75, 1]; // from the input to the text alone
const form = byId("variations");
const slider = byId("eta");
const exact = byId("eta-exact");
const seed = byId("again-seed");
const options = byId("again-options");
const mask = new MaskChoice(
  byId("again-mask"),
  () => fileOf(edit.id, "input"),
  () => (edit.outputs.includes("mask") ? getBlob(`/edits/${edit.id}/mask`) : null),
);
let edit = null;
let filled = ""; // what the form was filled for
let timer = 0; // runs from a move to its rest
let moving = null; // the edit that the last move asked for
let opened = () => {};

/** hears: called with the id and index of the picture that was asked for. */
export const startVariations = (hears) => (opened = hears);

/** present: an edit, or null. image: its picture that is shown, if any. */
export function showVariations(present, image) {
  edit = present;
  const method = edit && methodOf(edit.method);
  if (!show(form, method && edit.outputs.includes("state"))) return;
  const shown = `${edit.id}/${image?.index}`;
  if (shown === filled || timer) return;
  filled = shown;
  const strength = strengthOf(method);
  show(byId("series"), strength);
  if (show(byId("eta-field"), strength)) {
    exact.min = slider.min = strength.minimum;
    exact.max = strength.maximum;
    slider.max = Math.min(1, strength.maximum); // what lies beyond exaggerates; the number takes it
    const { request } = edit;
    const asked = [request.eta, request.strength].find((value) => typeof value === "number");
    setStrength(image?.strength ?? asked ?? strength.default ?? slider.valueAsNumber);
    write(byId("eta-label"), `How far it goes (${strength.name})`);
    write(byId("eta-note"), strength.help);
  }
  seed.value = image?.seed ?? edit.request.seed;
  fillOptions(options, [["Rendering", method.edit]]);
  showDefaults(options, defaultsOf(method));
  writeOptions(options, edit.request.options);
  mask.take(null);
  mask.choose(edit.request.mask ?? "everywhere");
}

function setStrength(value) {
  slider.value = value;
  exact.value = number(value);
  slider.setAttribute("aria-valuetext", number(value));
}

const strengthGiven = () => (byId("eta-field").hidden ? undefined : exact.valueAsNumber);
const seedGiven = () => seed.valueAsNumber || 0;
const maskChanged = () => mask.blob !== null || mask.kind !== (edit.request.mask ?? "everywhere");

/** Ask for other pictures, and show them. strength: one, several, or undefined where the method has none. */
async function again(strength, from) {
  const asked = { seed: from, num_seeds: 1, options: readOptions(options), strength };
  if (maskChanged()) asked.mask = await encoded(mask.read());
  const made = await makeAgain(edit.id, asked);
  opened(made.id, 0);
  return made.id;
}

/** A mask as JSON takes it. */
async function encoded(mask) {
  if (!(mask instanceof Blob)) return mask;
  const bytes = new Uint8Array(await mask.arrayBuffer());
  return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
}

/** The picture that was made already with this strength and seed, all else alike. */
function found(strength, from) {
  const now = JSON.stringify(Object.entries(readOptions(options)).sort());
  const { plain, mask: region } = edit.request;
  if (maskChanged() || region === "given") return undefined; // one mask may differ from another
  return picturesOf().find(
    ({ request, ...each }) =>
      Math.abs(each.strength - strength) < 1e-6 &&
      each.seed === from &&
      request.plain === plain &&
      request.mask === region &&
      JSON.stringify(rendering(request.options)) === now,
  );
}

/** Those options that tell the pictures of one fit apart. */
function rendering(values) {
  const names = new Set(methodOf(edit.method).edit.map((each) => each.name));
  return Object.entries(values)
    .filter(([name]) => names.has(name))
    .sort();
}

/** The slider has come to rest. What an earlier move asked for is ended: it is no longer looked for. */
const settle = guarded(async () => {
  timer = 0;
  const [strength, from, before] = [strengthGiven(), seedGiven(), moving];
  const there = found(strength, from);
  moving = null;
  if (there) opened(there.id, there.index);
  else moving = await again(strength, from);
  if (before && before !== there?.id) await post(`/edits/${before}/cancel`);
});

function move() {
  clearTimeout(timer);
  timer = setTimeout(settle, SETTLES_MS);
}

slider.addEventListener("input", () => setStrength(slider.valueAsNumber));
slider.addEventListener("change", move);
exact.addEventListener("change", () => {
  if (!Number.isFinite(exact.valueAsNumber)) return;
  setStrength(exact.valueAsNumber);
  move();
});
seed.addEventListener("change", move);
byId("next-seed").addEventListener(
  "click",
  guarded(() => again(strengthGiven(), 1 + Math.max(seedGiven(), ...picturesOf().map((each) => each.seed)))),
);
byId("series").addEventListener(
  "click",
  guarded(() => again(SERIES, seedGiven())),
);
form.addEventListener("submit", (event) => {
  event.preventDefault();
  guarded(again)(strengthGiven(), seedGiven());
});
