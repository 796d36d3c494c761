// Painting a mask over a picture, with a pointer or with the keyboard.
import { byId, write } from "./dom.js";

const LONGEST = 1024; // pixels of the mask's longer side; the service stretches it over the picture
const PAINT = "#e8542f"; // seen on most pictures; the mask itself is white
const UNDO = 20;
const STEP = 0.02; // of the longer side, by an arrow key
const dialog = byId("painter");
const canvas = byId("painter-canvas");
const size = byId("painter-size");
const erase = byId("painter-erase");
const brush = byId("painter-brush");
const pen = canvas.getContext("2d", { willReadFrequently: true });
const before = [];
let at = null; // where the brush is, in pixels of the canvas
let drawing = false;

/** Paint over the picture at that address. start: a mask to begin with, or null. Gives a PNG, white where it may
 * change, or null where the painting was left. */
export async function paint(address, start) {
  if (!address) throw new Error("Choose a picture first; the mask is painted over it.");
  const picture = byId("painter-picture");
  picture.src = address;
  await picture.decode().catch(() => {
    throw new Error("This browser cannot show the picture; load a mask from a file.");
  });
  const scale = Math.min(1, LONGEST / Math.max(picture.naturalWidth, picture.naturalHeight));
  canvas.width = Math.max(1, Math.round(picture.naturalWidth * scale));
  canvas.height = Math.max(1, Math.round(picture.naturalHeight * scale));
  dialog.style.setProperty("--ratio", canvas.width / canvas.height);
  before.length = 0;
  at = { x: canvas.width / 2, y: canvas.height / 2 };
  erase.checked = false;
  tellShare();
  if (start) await begin(start).then(tellShare, () => tell("This browser cannot show that mask: begin anew."));
  dialog.showModal();
  move(at);
  canvas.focus();
  return new Promise((resolve) => {
    byId("painter-done").onclick = async () => {
      if (!painted()) return tell("Nothing is painted yet, so nothing could change.");
      resolve(await mask());
      dialog.close();
    };
    byId("painter-leave").onclick = () => dialog.close();
    dialog.onclose = () => resolve(null); // later than the mask, which then counts
  });
}

/** A mask in black and white, as paint. Throws for what the browser cannot decode. */
async function begin(blob) {
  const bitmap = await createImageBitmap(blob);
  pen.globalCompositeOperation = "source-over";
  pen.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  const pixels = pen.getImageData(0, 0, canvas.width, canvas.height);
  for (let i = 0; i < pixels.data.length; i += 4) pixels.data[i + 3] *= pixels.data[i] / 255;
  pen.putImageData(pixels, 0, 0);
  colour(pen, "source-in", PAINT);
}

/** Fill the whole of a canvas. how: with what is there. */
function colour(ink, how, fill) {
  ink.globalCompositeOperation = how;
  ink.fillStyle = fill;
  ink.fillRect(0, 0, canvas.width, canvas.height);
}

/** The painting as a PNG, white on black. */
function mask() {
  const out = new OffscreenCanvas(canvas.width, canvas.height);
  const ink = out.getContext("2d");
  ink.drawImage(canvas, 0, 0);
  colour(ink, "source-in", "#fff");
  colour(ink, "destination-over", "#000");
  return out.convertToBlob({ type: "image/png" });
}

function painted() {
  const { data } = pen.getImageData(0, 0, canvas.width, canvas.height);
  let sum = 0;
  for (let i = 3; i < data.length; i += 4) sum += data[i];
  return sum / (255 * canvas.width * canvas.height);
}

const tell = (sentence) => write(byId("painter-share"), sentence);
const tellShare = () => tell(`${Math.round(100 * painted())} % of the picture may change.`);

function remember() {
  before.push(pen.getImageData(0, 0, canvas.width, canvas.height));
  if (before.length > UNDO) before.shift();
}

const width = () => (size.valueAsNumber / 100) * Math.max(canvas.width, canvas.height);

function move(to) {
  at = to;
  const shown = canvas.clientWidth / canvas.width;
  brush.style.width = brush.style.height = `${width() * shown}px`;
  brush.style.left = `${at.x * shown}px`;
  brush.style.top = `${at.y * shown}px`;
}

function stroke(from, to) {
  pen.globalCompositeOperation = erase.checked ? "destination-out" : "source-over";
  pen.strokeStyle = pen.fillStyle = PAINT;
  pen.lineCap = "round";
  pen.lineWidth = width();
  pen.beginPath();
  pen.moveTo(from.x, from.y);
  pen.lineTo(to.x, to.y);
  pen.stroke();
  pen.beginPath(); // a line without length leaves nothing
  pen.arc(to.x, to.y, width() / 2, 0, 2 * Math.PI);
  pen.fill();
}

/** One change of the whole painting, which can be undone. */
function change(draw) {
  remember();
  draw();
  tellShare();
}

function place(event) {
  const box = canvas.getBoundingClientRect();
  const [x, y] = [event.clientX - box.left, event.clientY - box.top];
  return { x: (x * canvas.width) / box.width, y: (y * canvas.height) / box.height };
}

canvas.addEventListener("pointerdown", (event) => {
  if (event.button) return;
  canvas.setPointerCapture(event.pointerId);
  drawing = true;
  remember();
  move(place(event));
  stroke(at, at);
});
let pointed = "";
canvas.addEventListener("pointermove", (event) => {
  // Browsers also send this for a pointer that rests while the page moves; the keyboard's place stays then.
  const where = `${event.clientX},${event.clientY}`;
  if (where === pointed) return;
  pointed = where;
  const from = at;
  move(place(event));
  if (drawing) stroke(from, at);
});
for (const kind of ["pointerup", "pointercancel"]) {
  canvas.addEventListener(kind, () => {
    if (drawing) tellShare();
    drawing = false;
  });
}

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
canvas.addEventListener("keydown", (event) => {
  if (ARROWS[event.key]) {
    const step = STEP * (event.shiftKey ? 5 : 1) * Math.max(canvas.width, canvas.height);
    const [dx, dy] = ARROWS[event.key];
    const within = (value, most) => Math.min(Math.max(value, 0), most);
    move({ x: within(at.x + dx * step, canvas.width), y: within(at.y + dy * step, canvas.height) });
  } else if (event.key === " ") {
    change(() => stroke(at, at));
  } else if (event.key.toLowerCase() === "e" && !event.ctrlKey && !event.metaKey) {
    erase.checked = !erase.checked;
  } else return;
  event.preventDefault();
});

size.addEventListener("input", () => move(at));
byId("painter-undo").addEventListener("click", () => {
  const last = before.pop();
  if (last) pen.putImageData(last, 0, 0);
  tellShare();
});
byId("painter-clear").addEventListener("click", () => change(() => pen.clearRect(0, 0, canvas.width, canvas.height)));
byId("painter-invert").addEventListener("click", () => change(() => colour(pen, "xor", PAINT)));
