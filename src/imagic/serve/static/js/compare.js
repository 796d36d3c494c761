// Before and after, one over the other, parted where the slider is.
import { byId, picture, show } from "./dom.js";

const figure = byId("compare");
const [before, after] = figure.querySelectorAll("img");
const slider = figure.querySelector("input");

function part() {
  figure.style.setProperty("--split", `${slider.value}%`);
  slider.setAttribute("aria-valuetext", `${100 - slider.value} % of the result is shown`);
}
slider.addEventListener("input", part);
part();

/** edit: for the shape. input, result: addresses. words: what the result is. */
export function compare(edit, input, result, words) {
  figure.style.setProperty("--ratio", edit.width / edit.height);
  picture(before, input);
  picture(after, result);
  before.alt = "The picture before";
  after.alt = words;
  show(figure, true);
}

export const hideCompare = () => show(figure, false);
