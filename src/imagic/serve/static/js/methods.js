// The methods that the service has, as it describes them.
import { get } from "./api.js";

const NAMES = {
  cycle_diffusion: "CycleDiffusion",
  ddib: "DDIB",
  diffedit: "DiffEdit",
  encode_decode: "Encode and decode",
  imagic: "Imagic",
  instruct_pix2pix: "InstructPix2Pix",
  null_text: "Null-text inversion",
  prompt_to_prompt: "Prompt-to-Prompt",
  sdedit: "SDEdit",
  text2live: "Text2LIVE",
  unitune: "UniTune",
};
let known = [];
let first = "";

/** Ask for the methods. Returns whether anything is new. */
export async function askMethods() {
  const { methods, default: standard } = await get("/methods");
  const same = JSON.stringify(methods) === JSON.stringify(known);
  [known, first] = [methods, standard];
  return !same;
}

export const allMethods = () => known;
export const standardMethod = () => first;
export const methodOf = (name) => known.find((each) => each.name === name);
export const methodName = (name) => NAMES[name] ?? name;

/** The option that sets how far a method goes; undefined where it has none. */
export const strengthOf = (method) => method?.edit.find((each) => ["eta", "strength"].includes(each.name));

/** Whether its text says what to do, and not what the result shows. */
export const instructs = ({ texts }) => texts.includes("instruction") && !texts.includes("target_text");
export const needsSource = ({ texts }) => texts.includes("source_text");

/** Values of all options by name, where nothing is said about them. */
export const defaultsOf = (method) =>
  Object.fromEntries([...method.fit, ...method.edit].map((option) => [option.name, option.default]));
