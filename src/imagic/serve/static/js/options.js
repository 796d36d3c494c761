// A form for the options of a method, from their description. A field that is left empty stays as it comes.
import { make } from "./dom.js";
import { upperFirst } from "./words.js";

// These have controls of their own on the page.
const OWN = new Set(["eta", "etas", "strength", "strengths", "target_text", "instruction"]);
let made = 0;

/** Put the groups of options into `place`: pairs of a legend and descriptions. */
export function fillOptions(place, groups) {
  const sets = groups
    .map(([legend, options]) => [legend, options.filter((each) => each.settable && !OWN.has(each.name))])
    .filter(([, options]) => options.length)
    .map(([legend, options]) =>
      make("fieldset", { className: "plain-set" }, make("legend", { textContent: legend }), ...options.map(field)),
    );
  place.replaceChildren(...sets);
}

function field(option) {
  const id = `option-${(made += 1)}`;
  const name = upperFirst(option.name.replaceAll("_", " "));
  const input = control(option);
  Object.assign(input, { id, name: option.name });
  input.dataset.type = option.type;
  input.setAttribute("aria-describedby", `${id}-note`);
  return make(
    "div",
    { className: "field option" },
    make("label", { for: id, textContent: name }),
    input,
    make("p", { id: `${id}-note`, className: "note", textContent: option.help }),
  );
}

function control(option) {
  const choices = option.type === "bool" ? ["yes", "no"] : option.choices;
  if (choices.length) {
    const first = make("option", { value: "" });
    return make("select", {}, first, ...choices.map((value) => make("option", { value, textContent: value })));
  }
  if (option.type === "str") return make("input", { type: "text", autocomplete: "off" });
  const input = make("input", { type: "number", step: option.type === "int" ? "1" : "any" });
  if (option.minimum !== null) input.min = option.minimum;
  if (option.maximum !== null) input.max = option.maximum;
  return input;
}

const fields = (place) => [...place.querySelectorAll("[data-type]")];

/** Show what an option is where it is left empty. values: those of the defaults and of a preset, by name. */
export function showDefaults(place, values) {
  for (const input of fields(place)) {
    const words = inWords(values[input.name]) || "automatic";
    if (input.tagName === "SELECT") input.options[0].textContent = `As it comes (${words})`;
    else input.placeholder = words;
  }
}

/** What was filled in, by name. */
export function readOptions(place) {
  const filled = fields(place).filter((input) => input.value !== "");
  return Object.fromEntries(filled.map((input) => [input.name, typed(input)]));
}

function typed(input) {
  if (input.dataset.type === "bool") return input.value === "yes";
  return input.type === "number" ? Number(input.value) : input.value;
}

/** Fill in values by name, and empty the rest. */
export function writeOptions(place, values) {
  for (const input of fields(place)) input.value = inWords(values[input.name]);
}

function inWords(value) {
  if (typeof value === "boolean") return value ? "yes" : "no";
  return String(value ?? "");
}
