// Elements from plain calls. Text goes in as text, never as markup: a sensor named <script> is a name.
export function h(tag, attributes, ...children) {
  const svg = tag.startsWith("svg:");
  const e = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag.slice(4)) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) e.addEventListener(name.slice(2), value);
    else if (name === "value" || name === "checked" || name === "disabled") e[name] = value;
    else e.setAttribute(name, value === true ? "" : String(value));
  }
  put(e, children);
  return e;
}

function put(e, children) {
  for (const child of children.flat(9)) {
    if (child === null || child === undefined || child === false) continue;
    e.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
}

export function fill(e, ...children) {
  e.replaceChildren();
  put(e, children);
  return e;
}

// Change a text only when it differs: a screen reader, and the layout, are left in peace.
export function say(e, text) {
  if (e && e.textContent !== text) e.textContent = text;
}
