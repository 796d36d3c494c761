// Asks for the service's key, once for all that wait for it.
import { byId, show } from "./dom.js";

let asking = null;

/** Resolves when `use` has taken the key. use: gives a promise that fails for a wrong key. */
export function askKey(use) {
  asking ??= new Promise((resolve) => {
    const dialog = byId("key");
    const field = byId("key-text");
    const problem = byId("key-problem");
    const form = dialog.querySelector("form");
    const tried = async (event) => {
      event.preventDefault();
      try {
        await use(field.value);
      } catch (error) {
        problem.textContent = error.message;
        show(problem, true);
        field.select();
        return;
      }
      form.removeEventListener("submit", tried);
      field.value = "";
      show(problem, false);
      dialog.close();
      asking = null;
      resolve();
    };
    form.addEventListener("submit", tried);
    dialog.oncancel = (event) => event.preventDefault(); // nothing works without it
    dialog.showModal();
  });
  return asking;
}
