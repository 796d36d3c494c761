// The choice of a method in the form: its presets, the texts it needs, its options.
import { byId, make, show, write } from "./dom.js";
import {
  allMethods,
  askMethods,
  defaultsOf,
  instructs,
  methodName,
  methodOf,
  needsSource,
  standardMethod,
  strengthOf,
} from "./methods.js";
import { fillOptions, readOptions, showDefaults, writeOptions } from "./options.js";

const select = byId("method");
const preset = byId("preset");
const place = byId("options");

/** Ask the service which methods there are; what was chosen stays. */
export async function fillMethods() {
  const chosen = select.value;
  if (!(await askMethods())) return;
  const options = allMethods().map(({ name, available }) => {
    const textContent = methodName(name) + (available === false ? " (not with this model)" : "");
    return make("option", { value: name, textContent, disabled: available === false });
  });
  select.replaceChildren(...options);
  chooseMethod(chosen || standardMethod());
}

export function presentMethod() {
  const found = methodOf(select.value);
  if (!found) throw new Error("The service has not told its methods yet; wait a moment.");
  return found;
}

export function chooseMethod(name, ofPreset = "", options = {}) {
  select.value = name;
  showMethod();
  preset.value = ofPreset;
  showPreset();
  writeOptions(place, options);
}

export const presentOptions = () => readOptions(place);

/** What its text is. */
export const wanted = () =>
  instructs(presentMethod())
    ? "what to do, such as “make the dog sit”"
    : "what the result shows, such as “a sitting dog”";

function showMethod() {
  const method = presentMethod();
  write(byId("text-label"), instructs(method) ? "What should be done?" : "What should it show?");
  write(byId("text-note"), `Say ${wanted()}.`);
  write(byId("source-need"), needsSource(method) ? "(needed)" : "(helps; may be left empty)");
  byId("source-text").required = needsSource(method);
  write(byId("method-note"), method.paper);
  showStrength(strengthOf(method));
  const presets = Object.keys(method.presets);
  show(byId("preset-field"), presets.length);
  const none = make("option", { value: "", textContent: "As it comes" });
  preset.replaceChildren(none, ...presets.map((value) => make("option", { value, textContent: value })));
  fillOptions(place, [
    ["Learning", method.fit],
    ["Rendering", method.edit],
  ]);
  showPreset();
}

function showStrength(option) {
  write(byId("strength-note"), option ? option.help : "This method has no strength.");
  const field = byId("strength");
  field.value = "";
  if (!show(byId("strength-field"), option)) return;
  Object.assign(field, { min: option.minimum, max: option.maximum, placeholder: option.default ?? "automatic" });
  write(byId("strength-label"), `Strength (${option.name})`);
}

function showPreset() {
  const method = presentMethod();
  showDefaults(place, { ...defaultsOf(method), ...method.presets[preset.value] });
}

select.addEventListener("change", showMethod);
preset.addEventListener("change", showPreset);
