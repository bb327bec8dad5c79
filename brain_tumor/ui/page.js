() => {
  // A slice pasted or dropped anywhere on the page goes where a browsed one goes. While another is being answered the
  // drop zone takes none, so the latest waits for it.
  let waiting = null;
  let zone = null;
  const shown = () => {
    const many = document.querySelector("#many");
    return many && many.offsetParent;
  };
  // Files that come while others are on their way would be added to these.
  const busy = (zone) => document.querySelector(`${zone} .file-preview`);
  const deliver = () => {
    const input = document.querySelector(`${zone} input[type=file]`);
    if (!input || busy(zone)) {
      setTimeout(deliver, 100);
      return;
    }
    const transfer = new DataTransfer();
    for (const file of waiting) transfer.items.add(file);
    waiting = null;
    input.files = transfer.files;
    input.dispatchEvent(new CustomEvent("change", { bubbles: true, detail: "delivered" }));
  };
  // Files of a scan belong together, several pictures do not: the other tab takes them.
  const pictures = (files) => files.length > 1 && [...files].every((file) => file.type.startsWith("image/"));
  const hand_in = (files) => {
    if (!files || !files.length) return false;
    const tab = !shown() && pictures(files) && document.querySelector("#tab-many-button");
    if (tab) tab.click();
    zone = tab || shown() ? "#many-upload" : "#slice-upload";
    // From another tab: the answer is to be seen.
    const first = document.querySelector(zone);
    if (!tab && first && !first.offsetParent) document.querySelector("#tab-slice-button").click();
    const alone = waiting === null;
    waiting = [...files];
    if (alone) deliver();
    return true;
  };
  const files_in = async (entry) => {
    if (entry.isFile) return [await new Promise((resolve, reject) => entry.file(resolve, reject))];
    const reader = entry.createReader();
    const found = [];
    // A folder is read in parts, until one is empty.
    for (;;) {
      const part = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
      if (!part.length) return found;
      for (const inner of part) if (!inner.name.startsWith(".")) found.push(...(await files_in(inner)));
    }
  };
  document.addEventListener("paste", (event) => {
    if (hand_in(event.clipboardData && event.clipboardData.files)) event.preventDefault();
  });
  // Pictures of the page's own that are pressed like buttons hand their value to a hidden field, bars to a slider.
  document.addEventListener("click", (event) => {
    const pressed = event.target.closest && event.target.closest("[data-pick]");
    if (!pressed) return;
    const field = document.querySelector(`#${pressed.dataset.pick} :is(textarea, input:not([type=number]))`);
    // There is no slider where there is one slice.
    if (!field) return;
    // The same value pressed again is a press too: what follows the # makes it another.
    field.value = field.type === "range" ? pressed.dataset.value : `${pressed.dataset.value}#${Date.now()}`;
    field.dispatchEvent(new Event("input", { bubbles: true }));
  });
  document.addEventListener("click", (event) => {
    const pressed = event.target.closest && event.target.closest("[data-bare], [data-card]");
    if (!pressed) return;
    const root = document.documentElement;
    if ("bare" in pressed.dataset) {
      root.toggleAttribute("data-without-heat");
      return;
    }
    // To what is known of the model. What the tab holds is made when it is first opened.
    document.querySelector("#tab-models-button").click();
    const choose = (tries) => {
      const system = document.querySelector(`#models-system input[value="${pressed.dataset.card}"]`);
      if (!system) {
        if (tries) setTimeout(choose, 100, tries - 1);
        return;
      }
      system.click();
      document.querySelector("#models-closely").scrollIntoView({ block: "start" });
    };
    choose(50);
  });
  // Where the page is narrow, the settings are folded away above the answer.
  document.addEventListener("click", (event) => {
    const pressed = event.target.closest && event.target.closest("[data-unfold]");
    if (pressed) pressed.setAttribute("aria-expanded", pressed.getAttribute("aria-expanded") === "false");
  });
  // The bars of a strip are one stop for Tab; arrows lead along it.
  document.addEventListener("keydown", (event) => {
    const bar = event.target.closest && event.target.closest(".strip button");
    const step = { ArrowLeft: "previousElementSibling", ArrowRight: "nextElementSibling" }[event.key];
    const next = bar && step && bar[step];
    if (!next || next.tagName !== "BUTTON") return;
    event.preventDefault();
    bar.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  });
  // On a scan's pictures, as on a workstation: the wheel turns to the next slice, dragging changes the window.
  const slider = (id) => {
    const found = document.querySelector(`#${id} input[type=range]`);
    return found && found.offsetParent ? found : null;
  };
  const move = (id, by) => {
    const range = slider(id);
    if (!range) return;
    const to = Math.min(Math.max(Number(range.value) + by, Number(range.min)), Number(range.max));
    if (to === Number(range.value)) return;
    range.value = to;
    range.dispatchEvent(new Event("input", { bubbles: true }));
  };
  const picture = (event) => event.target.closest && event.target.closest("#answer .card .view");
  let turned = 0;
  document.addEventListener(
    "wheel",
    (event) => {
      if (event.ctrlKey || !picture(event) || !slider("scan-position")) return;
      event.preventDefault();
      // A notch of a wheel is 100 px or three lines; touchpads send many small steps.
      turned += event.deltaMode ? 34 * event.deltaY : event.deltaY;
      const slices = Math.trunc(turned / 60);
      turned -= 60 * slices;
      if (slices) move("scan-position", Math.sign(slices));
    },
    { passive: false },
  );
  let held = null;
  document.addEventListener("pointerdown", (event) => {
    if (event.button || event.pointerType === "touch" || !picture(event) || !slider("scan-width")) return;
    held = { x: event.clientX, y: event.clientY };
    event.preventDefault();
  });
  document.addEventListener("pointermove", (event) => {
    if (!held) return;
    const width = slider("scan-width");
    if (!width || !event.buttons) {
      held = null;
      return;
    }
    // Across: the width; down: the centre, hence darker. A hundred steps, the width that it opened with, are 200 px.
    const across = Math.round((event.clientX - held.x) / 2);
    const down = Math.round((event.clientY - held.y) / 2);
    if (across) move("scan-width", across * Number(width.step));
    if (down) move("scan-centre", down * Number(width.step));
    held = { x: held.x + 2 * across, y: held.y + 2 * down };
  });
  document.addEventListener("pointerup", () => (held = null));
  document.addEventListener("dragover", (event) => event.preventDefault());
  // Before the drop zones, which take neither folders nor what is for the other tab.
  document.addEventListener(
    "drop",
    (event) => {
      if (!event.dataTransfer) return;
      const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry && item.webkitGetAsEntry());
      const folders = entries.some((entry) => entry && entry.isDirectory);
      const target = event.target.closest && event.target.closest("#slice-upload, #many-upload");
      const elsewhere = target && target.id === "slice-upload" && pictures(event.dataTransfer.files);
      if (target && !folders && !elsewhere && !busy(`#${target.id}`)) return;
      event.preventDefault();
      event.stopPropagation();
      if (target) event.target.dispatchEvent(new DragEvent("dragleave", { bubbles: true }));
      if (!folders) hand_in(event.dataTransfer.files);
      else Promise.all(entries.filter(Boolean).map(files_in)).then((found) => hand_in(found.flat()));
    },
    true,
  );
  document.addEventListener(
    "change",
    (event) => {
      const browsed = event.target.closest && event.target.closest("#slice-upload") && event.detail !== "delivered";
      if (!browsed || !event.target.files || !(pictures(event.target.files) || busy("#slice-upload"))) return;
      event.stopPropagation();
      hand_in(event.target.files);
    },
    true,
  );
  // From here on nothing that is handed over is lost.
  document.documentElement.dataset.listens = "";
}
