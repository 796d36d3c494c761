// The picture to be edited: chosen, dropped, pasted, or one of the examples.
import { exampleOf, get, getBlob } from "./api.js";
import { byId, make, show } from "./dom.js";
import { complain, guarded } from "./notice.js";

const image = byId("picture");
const drop = byId("drop");
let present = null;
let maxBytes = Infinity;

export const presentPicture = () => present;
export const pictureAddress = () => (present ? image.src : "");
export const limitPicture = (bytes) => (maxBytes = bytes);

/** Take a file. Returns whether it was taken. The service decodes it; here it is only shown, where this browser can. */
export function takePicture(file) {
  if (file.size > maxBytes) {
    complain(`${file.name} has more than ${Math.floor(maxBytes / 2 ** 20)} MiB; choose a smaller one.`);
    return false;
  }
  URL.revokeObjectURL(image.src);
  present = file;
  image.src = URL.createObjectURL(file);
  show(image, true);
  drop.classList.add("full");
  byId("file-words").textContent = "Choose another";
  byId("file-note").textContent = file.name;
  drop.dispatchEvent(new Event("picture", { bubbles: true }));
  return true;
}

image.addEventListener("error", () => {
  show(image, false);
  byId("file-note").textContent = `${present.name}: this browser cannot show it; the service will say whether it can.`;
});

byId("file").addEventListener("change", (event) => {
  const [file] = event.target.files;
  if (file) take(file);
  event.target.value = ""; // the same file may be chosen again
});

const take = guarded((file) => takePicture(file));

for (const kind of ["dragenter", "dragover"]) {
  drop.addEventListener(kind, (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
}
for (const kind of ["dragleave", "drop"]) drop.addEventListener(kind, () => drop.classList.remove("over"));
drop.addEventListener("drop", (event) => {
  event.preventDefault();
  const [file] = event.dataTransfer.files;
  if (file) take(file);
});
document.addEventListener("paste", (event) => {
  const file = [...(event.clipboardData?.files ?? [])].find((each) => each.type.startsWith("image/"));
  if (file) take(file);
});

/** Show the examples. chosen: hears which was taken. */
export async function fillExamples(chosen) {
  const { examples } = await get("/examples");
  const buttons = examples.map((example) => {
    const picture = make("img", { src: exampleOf(example.name), alt: "", width: 96, height: 96 });
    const button = make("button", { type: "button", title: example.text }, picture);
    button.setAttribute("aria-label", `Example: ${example.text}`);
    button.addEventListener(
      "click",
      guarded(async () => {
        const blob = await getBlob(`/examples/${example.name}`);
        if (takePicture(new File([blob], `${example.name}.png`, { type: blob.type }))) chosen(example);
      }),
    );
    return button;
  });
  byId("examples").replaceChildren(...buttons);
}
