// The arrow keys choose; a second answer to one question is not sent.
const buttons = { ArrowLeft: "left", ArrowRight: "right" };
document.addEventListener("keydown", (event) => {
  const wanted = buttons[event.key];
  const button = wanted && !event.repeat && document.querySelector(`button[value="${wanted}"]`);
  if (button) {
    event.preventDefault();
    button.click();
  }
});
document.querySelector("form")?.addEventListener("submit", (event) => {
  if (event.target.dataset.sent) event.preventDefault();
  event.target.dataset.sent = "yes";
});
