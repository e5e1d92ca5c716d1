"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const by = id => document.getElementById(id);
const views = [...document.querySelectorAll(".view")];
const boxes = [...document.querySelectorAll("#legend input")];
const numbers = decoded(data.runs, data.width * data.height);
const place = { scale: 1, x: 0, y: 0 };

function decoded(text, count) {
  const bytes = atob(text), out = new Uint32Array(count);
  let at = 0, done = 0;
  const next = () => {
    let value = 0, unit = 1, byte;
    do {
      byte = bytes.charCodeAt(at++);
      value += (byte & 127) * unit;
      unit *= 128;
    } while (byte > 127);
    return value;
  };
  while (done < count) {
    const number = next(), length = next();
    out.fill(number, done, done + length);
    done += length;
  }
  return out;
}

function paint() {
  const colors = data.colors.map(color => color.slice());
  for (const box of boxes) if (!box.checked) colors[+box.dataset.row][3] = 0;
  const pixels = new ImageData(data.width, data.height), words = new Uint32Array(pixels.data.buffer);
  const table = new Uint32Array(new Uint8Array(colors.flat()).buffer);
  for (let i = 0; i < words.length; i++) words[i] = table[numbers[i]];
  for (const canvas of document.querySelectorAll("canvas")) {
    canvas.width = data.width;
    canvas.height = data.height;
    canvas.getContext("2d").putImageData(pixels, 0, 0);
  }
}

function arrange() {
  const beside = by("beside").getAttribute("aria-pressed") === "true";
  views[1].hidden = !beside;
  const mask = views[0].querySelector("canvas");
  mask.style.display = beside ? "none" : "";
  mask.style.opacity = data.scene ? by("opacity").value : 1;
  mask.style.clipPath = `inset(0 ${(1 - by("swipe").value) * 100}% 0 0)`;
  show();
}

function show() {
  for (const view of views) {
    const stack = view.querySelector(".stack");
    stack.style.width = `${data.width}px`;
    stack.style.height = `${data.height}px`;
    stack.style.transform = `translate(${place.x}px, ${place.y}px) scale(${place.scale})`;
  }
  const bar = document.querySelector(".bar");
  bar.hidden = !data.metres;
  if (!data.metres) return;
  const most = 160 * data.metres / place.scale, power = 10 ** Math.floor(Math.log10(most));
  const length = [5, 2, 1].map(step => step * power).find(step => step <= most * (1 + 1e-9));
  bar.querySelector("i").style.width = `${length / data.metres * place.scale}px`;
  const metres = Number(length.toPrecision(3));
  bar.querySelector("span").textContent =
    metres >= 1000 ? `${metres / 1000} km` : metres >= 1 ? `${metres} m` : `${Number((metres * 100).toPrecision(3))} cm`;
}

function fit() {
  const { clientWidth: width, clientHeight: height } = views[0];
  place.scale = Math.min(width / data.width, height / data.height) || 1;
  place.x = (width - data.width * place.scale) / 2;
  place.y = (height - data.height * place.scale) / 2;
  show();
}

function zoom(factor, x, y) {
  const scale = Math.min(64, Math.max(0.02, place.scale * factor));
  place.x = x - (x - place.x) * scale / place.scale;
  place.y = y - (y - place.y) * scale / place.scale;
  place.scale = scale;
  show();
}

const zoomed = factor => zoom(factor, views[0].clientWidth / 2, views[0].clientHeight / 2);
for (const view of views) {
  let held = null;
  view.addEventListener("wheel", event => {
    event.preventDefault();
    const box = view.getBoundingClientRect();
    zoom(2 ** (-event.deltaY / 300), event.clientX - box.left, event.clientY - box.top);
  }, { passive: false });
  view.addEventListener("pointerdown", event => {
    held = [event.clientX - place.x, event.clientY - place.y];
    view.setPointerCapture(event.pointerId);
  });
  view.addEventListener("pointermove", event => {
    if (!held) return;
    place.x = event.clientX - held[0];
    place.y = event.clientY - held[1];
    show();
  });
  for (const end of ["pointerup", "pointercancel"]) view.addEventListener(end, () => { held = null; });
  view.addEventListener("keydown", event => {
    const step = { ArrowLeft: [40, 0], ArrowRight: [-40, 0], ArrowUp: [0, 40], ArrowDown: [0, -40] }[event.key];
    if (step) {
      place.x += step[0];
      place.y += step[1];
      show();
    } else if (event.key === "+") zoomed(1.5);
    else if (event.key === "-") zoomed(1 / 1.5);
    else if (event.key === "0") fit();
    else return;
    event.preventDefault();
  });
}
by("in").onclick = () => zoomed(1.5);
by("out").onclick = () => zoomed(1 / 1.5);
by("fit").onclick = fit;
by("opacity").oninput = by("swipe").oninput = arrange;
by("beside").onclick = () => {
  const button = by("beside");
  button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true"));
  arrange();
  fit();
};
for (const [id, on] of [["all", true], ["none", false]]) {
  by(id).onclick = () => {
    for (const box of boxes) box.checked = on;
    paint();
  };
}
for (const box of boxes) box.onchange = paint;
if (data.scene) document.querySelector(".stack img").src = data.scene;
window.addEventListener("resize", fit);
paint();
arrange();
fit();
