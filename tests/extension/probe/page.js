document.querySelector("#allow").addEventListener("click", async () => {
  const granted = await chrome.permissions.request({ origins: ["<all_urls>"] });
  document.querySelector("#answer").textContent = String(granted);
});

document.querySelector("#fail").addEventListener("click", () => console.error("from the page"));
