// Runs when the canvas is put on the page, with gradio's `element`, `props`, `trigger` and `watch` at hand. The value is
// a list of strokes, [[radius, x, y, x, y, ...], ...] in fractions of the slice; the picture itself never comes back.
let strokes = [];
let stroke = null;
let cursor = null;

const canvas = () => element.querySelector("canvas");
const radius = () => {
  const input = document.querySelector("#probe-brush input[type=range]");
  return (input ? Number(input.value) : 5) / 100;
};

const draw = () => {
  const paper = canvas();
  if (!paper) return;
  const { width, height } = paper.getBoundingClientRect();
  const scale = window.devicePixelRatio || 1;
  paper.width = Math.round(width * scale);
  paper.height = Math.round(height * scale);
  const pen = paper.getContext("2d");
  pen.scale(scale, scale);
  pen.lineCap = pen.lineJoin = "round";
  pen.strokeStyle = pen.fillStyle = "#0f766e";
  const side = Math.max(width, height);
  for (const [r, ...points] of stroke ? [...strokes, stroke] : strokes) {
    pen.lineWidth = 2 * r * side;
    pen.beginPath();
    pen.moveTo(points[0] * width, points[1] * height);
    for (let i = 0; i < points.length; i += 2) pen.lineTo(points[i] * width, points[i + 1] * height);
    pen.stroke();
  }
  if (cursor) {
    pen.beginPath();
    pen.arc(cursor[0] * width, cursor[1] * height, radius() * side, 0, 2 * Math.PI);
    pen.lineWidth = 2;
    pen.strokeStyle = "#ffffff";
    pen.stroke();
  }
};

const read = () => {
  try {
    strokes = JSON.parse(props.value || "[]");
  } catch {
    strokes = [];
  }
  requestAnimationFrame(draw);
};

const hand_in = () => {
  props.value = JSON.stringify(strokes);
  trigger("input");
  requestAnimationFrame(draw);
};

const place = (event) => {
  const { left, top, width, height } = canvas().getBoundingClientRect();
  const round = (value) => Math.round(10000 * Math.min(1, Math.max(0, value))) / 10000;
  return [round((event.clientX - left) / width), round((event.clientY - top) / height)];
};

element.addEventListener("pointerdown", (event) => {
  if (event.target !== canvas() || event.button > 0) return;
  event.target.setPointerCapture(event.pointerId);
  stroke = [radius(), ...place(event)];
  draw();
});
element.addEventListener("pointermove", (event) => {
  if (!stroke) return;
  stroke.push(...place(event));
  draw();
});
const end = () => {
  if (!stroke) return;
  strokes = [...strokes, stroke];
  stroke = null;
  hand_in();
};
element.addEventListener("pointerup", end);
element.addEventListener("pointercancel", end);

const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
element.addEventListener("keydown", (event) => {
  if (event.target !== canvas()) return;
  cursor = cursor || [0.5, 0.5];
  const step = STEPS[event.key];
  if (step) cursor = cursor.map((value, i) => Math.min(1, Math.max(0, value + step[i] / 40)));
  else if (event.key === " ") {
    strokes = [...strokes, [radius(), ...cursor]];
    hand_in();
  } else return;
  event.preventDefault();
  draw();
});
element.addEventListener("focusin", () => {
  if (canvas() && canvas().matches(":focus-visible")) cursor = cursor || [0.5, 0.5];
  draw();
});
element.addEventListener("focusout", () => {
  cursor = null;
  draw();
});

watch("value", read);
watch("picture", read);
new ResizeObserver(() => requestAnimationFrame(draw)).observe(element);
read();
