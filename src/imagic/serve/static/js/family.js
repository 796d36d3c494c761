// The edits of one fit: the one that made it, and those made again from it; their pictures side by side.
import { fileOf, get } from "./api.js";
import { byId, make, show } from "./dom.js";
import { methodOf, strengthOf } from "./methods.js";
import { number } from "./words.js";

const strip = byId("strip");
let family = [];

/** The edits of the same fit, the oldest first. */
export const askFamily = async (id) => (await get(`/edits/${id}/family`)).edits.reverse();
export const keepFamily = (edits) => (family = edits);

/** Every picture of the fit, the oldest first: id of its edit, what it was asked, index, strength, seed. */
export const picturesOf = () =>
  family.flatMap(({ id, request, images, method }) => images.map((image) => ({ id, request, method, ...image })));

/** The picture that went in, by an address that stays for the whole family. */
export const inputOf = (edit) => fileOf(family[0]?.id ?? edit.id, "input");

/** What a picture is among those of its fit. */
export function facts(method, image) {
  const strength = strengthOf(methodOf(method));
  return `${strength ? `${strength.name} ${number(image.strength)}, ` : ""}seed ${image.seed}`;
}

/** Show the pictures where there is more than one. edit, image: those that are shown large. */
export function showStrip(edit, image) {
  const pictures = picturesOf();
  if (!show(strip, pictures.length > 1)) return;
  const there = new Map([...strip.children].map((link) => [link.getAttribute("href"), link]));
  const links = pictures.map((each) => {
    const address = `#/${each.id}/${each.index}`;
    const link = there.get(address) ?? item(each, address);
    if (each.id === edit.id && each.index === image?.index) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
    return link;
  });
  const same = links.length === strip.children.length && links.every((link, i) => link === strip.children[i]);
  if (!same) strip.replaceChildren(...links);
}

function item(each, href) {
  const src = fileOf(each.id, "thumbnail", `?index=${each.index}`);
  const words = make("span", { textContent: facts(each.method, each) });
  return make("a", { href }, make("img", { src, alt: "", loading: "lazy" }), words);
}
