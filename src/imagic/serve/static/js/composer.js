// The form of a new edit: what is asked, checked as far as the page can, and sent.
import { getBlob, makeEdit, requestKey } from "./api.js";
import { chooseMethod, presentMethod, presentOptions, wanted } from "./choice.js";
import { byId } from "./dom.js";
import { MaskChoice } from "./mask.js";
import { needsSource } from "./methods.js";
import { calm, complain } from "./notice.js";
import { fillExamples, limitPicture, pictureAddress, presentPicture, takePicture } from "./picture.js";

const form = byId("composer");
const text = byId("text");
const source = byId("source-text");
const mask = new MaskChoice(byId("mask"), pictureAddress);
let key = requestKey();
let sending = false;

/** made: hears of each edit that was queued. */
export function startComposer(made) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (sending) return;
    calm();
    try {
      const asked = read();
      busy(true);
      made(await makeEdit(asked, key));
      key = requestKey();
    } catch (problem) {
      // With no answer the edit may have been taken: the same key then gives the same edit, and no second one.
      if (problem.status) key = requestKey();
      complain(problem.message);
      problem.field?.focus();
    } finally {
      busy(false);
    }
  });
  for (const kind of ["input", "change", "picture"]) {
    form.addEventListener(kind, (event) => {
      key = requestKey();
      event.target.removeAttribute("aria-invalid");
    });
  }
  form.addEventListener("picture", () => {
    calm();
    mask.take(null); // it was another picture's
  });
}

function busy(is) {
  sending = is;
  byId("go").setAttribute("aria-disabled", is);
  byId("go").textContent = is ? "Sending the picture" : "Make the edit";
}

/** Limits and examples. */
export async function fillComposer(limits) {
  limitPicture(limits.max_bytes);
  text.maxLength = source.maxLength = limits.max_text;
  byId("num-seeds").max = limits.max_seeds;
  await fillExamples((example) => {
    text.value = example.text;
    source.value = example.source_text;
  });
}

/** The fields of the request. Throws an error with one sentence, and the field that it is about. */
function read() {
  if (!presentPicture()) throw about("Choose a picture first, or take one of the examples.", byId("file"));
  if (!text.value.trim()) throw about(`Write a sentence first: ${wanted()}.`, text);
  const method = presentMethod();
  if (needsSource(method) && !source.value.trim()) {
    throw about("This method also needs to know what the picture shows now.", source);
  }
  const asked = new FormData();
  asked.set("image", presentPicture());
  asked.set("text", text.value);
  asked.set("source_text", source.value.trim() && source.value);
  asked.set("method", method.name);
  asked.set("preset", byId("preset").value);
  asked.set("options", JSON.stringify(presentOptions()));
  asked.set("strength", byId("strength").value || "auto");
  asked.set("seed", byId("seed").value || "0");
  asked.set("num_seeds", byId("num-seeds").value || "1");
  asked.set("plain", byId("plain").checked);
  asked.set("metadata", byId("metadata").checked);
  const given = mask.read();
  if (given) asked.set("mask", given);
  return asked;
}

function about(sentence, field) {
  field.setAttribute("aria-invalid", "true");
  return Object.assign(new Error(sentence), { field });
}

/** Fill the form with what an earlier edit was asked, its picture and mask too. */
export async function askAs(edit) {
  const { request } = edit;
  const given = request.mask === "given" ? await getBlob(`/edits/${edit.id}/mask`) : null;
  await take(edit.id, "input", "picture.png");
  text.value = edit.text;
  source.value = edit.source_text;
  chooseMethod(edit.method, request.preset, request.options);
  const strength = [request.eta, request.strength].find((value) => typeof value === "number");
  byId("strength").value = strength ?? "";
  byId("seed").value = request.seed;
  byId("num-seeds").value = request.num_seeds;
  byId("plain").checked = request.plain;
  byId("metadata").checked = request.metadata;
  mask.take(given);
  if (request.mask === "auto") mask.choose("auto");
  goTo(text);
}

/** Begin a new edit with a result of an earlier one as its picture. */
export async function editFurther(id, index) {
  await take(id, `result?index=${index}`, `result-${index}.png`);
  text.value = source.value = "";
  goTo(text);
}

async function take(id, name, called) {
  const blob = await getBlob(`/edits/${id}/${name}`);
  takePicture(new File([blob], called, { type: blob.type }));
}

function goTo(field) {
  form.scrollIntoView({ block: "start" });
  field.focus({ preventScroll: true });
}
