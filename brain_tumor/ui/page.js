() => {
  // A slice pasted or dropped anywhere on the page goes where a browsed one goes.
  const hand_in = (files) => {
    const input = document.querySelector("#slice-upload input[type=file]");
    if (!input || !files || !files.length) return false;
    const transfer = new DataTransfer();
    transfer.items.add(files[0]);
    input.files = transfer.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
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
