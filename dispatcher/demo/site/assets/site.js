document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-dismiss]");
  if (button) document.getElementById(button.dataset.dismiss)?.remove();
});
