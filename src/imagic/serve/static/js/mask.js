// Where a picture may change: everywhere, in a mask that is painted or loaded, or where the text points.
import { copyOf, show } from "./dom.js";
import { guarded } from "./notice.js";
import { paint } from "./painter.js";

let made = 0;

export class MaskChoice {
  /** place: the element to fill. picture: gives the address of the picture that is painted over; start: the mask that
   * painting begins with where none was given, or null. */
  constructor(place, picture, start = () => null) {
    const copy = copyOf("mask-template");
    this.given = copy.querySelector(".given");
    this.image = copy.querySelector(".given img");
    this.radios = [...copy.querySelectorAll("input[type=radio]")];
    this.blob = null;
    const name = `mask-${(made += 1)}`;
    for (const radio of this.radios) {
      radio.name = name;
      radio.addEventListener("change", () => this.choose(radio.value));
    }
    copy.querySelector(".paint").addEventListener(
      "click",
      guarded(async () => {
        const painted = await paint(picture(), this.blob ?? (await start()));
        if (painted) this.take(painted);
      }),
    );
    const file = copy.querySelector("input[type=file]");
    file.addEventListener("change", () => {
      if (file.files[0]) this.take(file.files[0]);
      file.value = "";
    });
    place.replaceChildren(copy);
  }

  /** "everywhere", "given" or "auto". */
  get kind() {
    return this.radios.find((radio) => radio.checked).value;
  }

  choose(kind) {
    for (const radio of this.radios) radio.checked = radio.value === kind;
    show(this.given, kind === "given");
  }

  /** Use a mask, a Blob of a picture file, white where it may change; null for none. */
  take(blob) {
    URL.revokeObjectURL(this.image.src);
    this.blob = blob;
    if (show(this.image, blob !== null)) this.image.src = URL.createObjectURL(blob);
    this.choose(blob ? "given" : "everywhere");
    this.given.dispatchEvent(new Event("change", { bubbles: true }));
  }

  /** What to send: null, "auto", or the mask's file. Throws where a mask is meant and there is none. */
  read() {
    if (this.kind === "everywhere") return null;
    if (this.kind === "auto") return "auto";
    if (!this.blob) throw new Error("There is no mask yet: paint one, load one, or choose 'Everywhere'.");
    return this.blob;
  }
}
