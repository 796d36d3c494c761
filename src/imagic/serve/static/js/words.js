// Numbers, times and states in words.

const STAGES = {
  embedding: "Learning the picture as a text",
  network: "Learning the picture's details",
  "null-text": "Learning the way back to the picture",
  train: "Painting the new layer",
  encode: "Reading the picture",
  mask: "Finding where it may change",
  search: "Trying strengths",
  render: "Making the picture",
  score: "Comparing",
  compose: "Laying the layer over the picture",
};

export const upperFirst = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/** A stage as the service names it, such as "seed 3: search: score". */
function stageWords(stage) {
  const parts = stage.split(": ");
  const seed = parts[0].startsWith("seed ") ? `, ${parts.shift()}` : "";
  return (parts.map((part) => STAGES[part] ?? upperFirst(part)).join(": ") || "Working") + seed;
}

function duration(seconds) {
  if (seconds < 1) return "less than a second";
  const whole = Math.round(seconds);
  if (whole < 90) return whole === 1 ? "1 second" : `${whole} seconds`;
  const minutes = Math.round(whole / 60);
  return minutes < 90 ? `${minutes} minutes` : `${(minutes / 60).toFixed(1)} hours`;
}

export function progressWords(edit) {
  const { progress } = edit;
  if (edit.cancelling) return "Ending at its next step.";
  if (edit.state === "queued") {
    const place = edit.position === 1 ? "Next in the queue" : `Number ${edit.position} in the queue`;
    return edit.attempts ? `${place}; it goes on where it was interrupted.` : `${place}.`;
  }
  if (!progress) return "Beginning.";
  const left = progress.seconds_left === null ? "" : `, about ${duration(progress.seconds_left)} left of this stage`;
  return `${stageWords(progress.stage)}: step ${progress.step} of ${progress.total}${left}.`;
}

export const number = (value) => String(Math.round(value * 1000) / 1000);

const STATES = { queued: "waiting", running: "at work", done: "done", failed: "failed", cancelled: "cancelled" };
export const stateWords = (edit) => (edit.cancelling ? "ending" : STATES[edit.state]);

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const day = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });

/** The time of today, else the day too. */
export function moment(text) {
  const time = new Date(text);
  const today = time.toDateString() === new Date().toDateString();
  return today ? clock.format(time) : `${day.format(time)}, ${clock.format(time)}`;
}
