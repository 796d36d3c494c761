// Finding and making elements.

export const byId = (id) => document.getElementById(id);

/** A new element. values: properties; `data` and `aria` prefixes and `for`, `role` are set as attributes. */
export function make(tag, values = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(values)) {
    if (/^(data-|aria-|for$|role$)/.test(name)) element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children);
  return element;
}

/** A copy of the one element in a template. */
export const copyOf = (id) => byId(id).content.firstElementChild.cloneNode(true);

/** Show an element or not. Returns whether it is shown. */
export function show(element, shown) {
  element.hidden = !shown;
  return Boolean(shown);
}

/** Change a text only where it differs, so that a screen reader does not hear it twice. */
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Change a picture only where it differs, so that it does not flicker. */
export function picture(image, address) {
  if (image.getAttribute("src") !== address) image.src = address;
}
