// What a person is told: news quietly, problems at the top of the page, one sentence each.
import { byId, show, write } from "./dom.js";

export const tell = (sentence) => write(byId("news"), sentence);

export function complain(sentence) {
  const place = byId("complaint");
  place.textContent = sentence; // said again when it happens again
  show(place, true);
}

export const calm = () => show(byId("complaint"), false);

/** The same function, whose problems are told and not thrown. */
export const guarded = (action) => async (...values) => {
  try {
    calm();
    return await action(...values);
  } catch (problem) {
    complain(problem.message);
  }
};
