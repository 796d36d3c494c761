// What can be taken away of an edit.
import { fileOf } from "./api.js";
import { byId, make, show } from "./dom.js";

const NAMES = { sheet: "Sheet", animation: "Animation", mask: "Mask", state: "State" };

/** index: of the picture that is shown. */
export function showDownloads(edit, index) {
  const there = Object.keys(NAMES).filter((name) => edit.outputs.includes(name));
  const links = [link("Picture", fileOf(edit.id, "result", `?index=${index}`))];
  links.push(...there.map((name) => link(NAMES[name], fileOf(edit.id, name))));
  const place = byId("downloads");
  show(place, true);
  const key = links.map((each) => each.href).join();
  if (place.dataset.key === key) return;
  place.dataset.key = key; // left as they are, so that a key press or a click is not lost
  place.replaceChildren(...links);
}

/** The service names the file. */
const link = (name, href) =>
  make("a", { href, download: "", className: "button quiet", textContent: name, "aria-label": `Download: ${name}` });
