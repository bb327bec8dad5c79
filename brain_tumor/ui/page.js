() => {
  // A slice pasted or dropped anywhere on the page goes where a browsed one goes. While another is being answered the
  // drop zone takes none, so the latest waits for it.
  let waiting = null;
  const deliver = () => {
    const many = document.querySelector("#many-upload input[type=file]");
    const shown = many && many.closest("#many").offsetParent;
    const input = shown ? many : document.querySelector("#slice-upload input[type=file]");
    if (!input) {
      setTimeout(deliver, 100);
      return;
    }
    const transfer = new DataTransfer();
    for (const file of shown ? waiting : waiting.slice(0, 1)) transfer.items.add(file);
    waiting = null;
    input.files = transfer.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
  };
  const hand_in = (files) => {
    if (!files || !files.length) return false;
    const alone = waiting === null;
    waiting = [...files];
    if (alone) deliver();
    return true;
  };
  document.addEventListener("paste", (event) => {
    if (hand_in(event.clipboardData && event.clipboardData.files)) event.preventDefault();
  });
  // Pictures and bars of the page's own that are pressed like buttons hand their value to a hidden field.
  document.addEventListener("click", (event) => {
    const pressed = event.target.closest && event.target.closest("[data-pick]");
    if (!pressed) return;
    const field = document.querySelector(`#${pressed.dataset.pick} textarea, #${pressed.dataset.pick} input`);
    // The same value pressed again is a press too: what follows the # makes it another.
    field.value = `${pressed.dataset.value}#${Date.now()}`;
    field.dispatchEvent(new Event("input", { bubbles: true }));
  });
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    // The drop zone has handled its own.
    if (event.defaultPrevented) return;
    event.preventDefault();
    hand_in(event.dataTransfer && event.dataTransfer.files);
  });
  // From here on nothing that is handed over is lost.
  document.documentElement.dataset.listens = "";
}
