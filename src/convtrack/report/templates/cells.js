{# A click on a number in a matrix shows the images that belong to it. #}
const images = document.getElementById("images").content;
for (const table of document.querySelectorAll(".matrix")) table.onclick = (event) => {
  const cell = event.target.closest("button");
  if (!cell) return;
  for (const each of table.querySelectorAll("button")) each.toggleAttribute("data-open", each === cell);
  const found = [...images.querySelectorAll(`[data-cells~="${cell.dataset.cell}"]`)];
  const title = document.createElement("h3");
  title.textContent = cell.title;
  const words = document.createElement("p");
  const count = Number(cell.dataset.count);
  const which = cell.parentNode.className ? "least" : "most";
  words.textContent = found.length < count ? `${found.length} of ${count} images, the ${which} confident first` : "";
  const gallery = document.createElement("div");
  gallery.className = "gallery";
  gallery.append(...found.map((image) => image.cloneNode(true)));
  const panel = table.closest(".beside").querySelector(".cell");
  panel.replaceChildren(title, words, gallery);
  panel.scrollIntoView({block: "nearest"});
};
