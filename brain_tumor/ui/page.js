() => {
  // A slice pasted or dropped anywhere on the page goes where a browsed one goes. While another is being answered the
  // drop zone takes none, so the latest waits for it.
  let waiting = null;
  const deliver = () => {
    const input = document.querySelector("#slice-upload input[type=file]");
    if (!input) {
      setTimeout(deliver, 100);
      return;
    }
    const transfer = new DataTransfer();
    transfer.items.add(waiting);
    waiting = null;
    input.files = transfer.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
  };
  const hand_in = (files) => {
    if (!files || !files.length) return false;
    const alone = waiting === null;
    waiting = files[0];
    if (alone) deliver();
    return true;
  };
  document.addEventListener("paste", (event) => {
    if (hand_in(event.clipboardData && event.clipboardData.files)) event.preventDefault();
  });
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    // The drop zone has handled its own.
    if (event.defaultPrevented) return;
    event.preventDefault();
    hand_in(event.dataTransfer && event.dataTransfer.files);
  });
}
