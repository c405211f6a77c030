// What a page can do better with a script; everything works without it.
"use strict";
(function () {
  // Times in the reader's own zone.
  const today = new Date().toDateString();
  for (const element of document.querySelectorAll("time[datetime]")) {
    const at = new Date(element.dateTime);
    if (Number.isNaN(at.getTime())) continue;
    element.title = element.textContent;
    const options = { hour: "2-digit", minute: "2-digit", hour12: false };
    if ("day" in element.dataset || at.toDateString() !== today) {
      options.day = "numeric";
      options.month = "short";
      options.year = "numeric";
    }
    element.textContent = new Intl.DateTimeFormat("en-GB", options).format(at);
  }

  // How long a question is still open. Silent for screen readers until it closes.
  for (const element of document.querySelectorAll("[data-until]")) {
    const until = new Date(element.dataset.until).getTime();
    const show = function () {
      const seconds = Math.floor((until - Date.now()) / 1000);
      if (seconds <= 0) {
        element.setAttribute("role", "alert");
        element.textContent = "now closed";
        element.classList.add("closed");
        return;
      }
      const minutes = Math.floor(seconds / 60);
      element.textContent =
        minutes >= 2 ? "in " + minutes + " minutes" : "in " + seconds + (seconds === 1 ? " second" : " seconds");
      setTimeout(show, minutes >= 2 ? 5000 : 1000);
    };
    show();
  }

  // A question that may be answered on another device: look now and then
  // whether it was, and show what came of it. Where it was answered here and the
  // page is still there, the answer is a file: nothing is left to answer.
  for (const element of document.querySelectorAll("[data-watch]")) {
    let timer;
    const look = async function () {
      clearTimeout(timer);
      try {
        const answer = await fetch(element.dataset.watch, { headers: { Accept: "application/json" } });
        const state = answer.ok ? (await answer.json()).state : "pending";
        if (state !== "pending" && !element.querySelector("[data-sent], [data-busy]")) {
          location.replace(element.dataset.watch);
          return;
        }
        if (state !== "pending" && element.querySelector("[data-sent]") && element.querySelector(".later")) {
          element.dataset.over = state;
          return;
        }
      } catch (_) {
        // Away for a moment: look again.
      }
      timer = setTimeout(look, document.hidden ? 15000 : 4000);
    };
    timer = setTimeout(look, 4000);
    window.addEventListener("pageshow", function (event) {
      if (!event.persisted) return;
      delete element.dataset.over;
      look();
    });
  }

  // A window that a script opened for one question has done its work.
  if (document.querySelector("[data-closes]")) setTimeout(() => window.close(), 1500);

  // One submission is enough. Undone when the browser brings the page back.
  document.addEventListener("submit", function (event) {
    const form = event.target;
    if (form.dataset.sent) {
      event.preventDefault();
    } else if (!event.defaultPrevented) {
      form.dataset.sent = "yes";
    }
  });
  window.addEventListener("pageshow", function () {
    for (const form of document.forms) delete form.dataset.sent;
  });

  // Recovery codes: copy and print.
  for (const element of document.querySelectorAll("[data-needs-script]")) element.hidden = false;
  for (const button of document.querySelectorAll("[data-copy]")) {
    button.addEventListener("click", async function () {
      const codes = document.querySelectorAll(button.dataset.copy + " code");
      const live = button.parentElement.querySelector("[data-live]");
      try {
        await navigator.clipboard.writeText(Array.from(codes, (code) => code.textContent).join("\n"));
        live.textContent = "Copied.";
      } catch (_) {
        live.textContent = "Copying was not allowed. Select and copy the codes by hand.";
      }
    });
  }
  for (const button of document.querySelectorAll("[data-print]")) {
    button.addEventListener("click", () => window.print());
  }
})();
