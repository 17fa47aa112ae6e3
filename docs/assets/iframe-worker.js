// Search in a page that was opened from a file. Browsers start no worker there; a hidden frame does its work instead.
// Part of the documentation site (mkdocs.yml); elsewhere nothing changes.
(function () {
  "use strict"
  if (window.location.protocol !== "file:") return

  function load(frame, url) {
    return new Promise(function (done, failed) {
      const script = frame.document.createElement("script")
      script.src = url
      script.onload = done
      script.onerror = failed
      frame.document.body.appendChild(script)
    })
  }

  class FrameWorker extends EventTarget {
    constructor(url) {
      super()
      this.onmessage = null
      const element = document.createElement("iframe")
      element.hidden = true
      document.body.appendChild(element)
      this.frame = element.contentWindow
      this.frame.document.open()
      this.frame.document.write("<!doctype html><body></body>")
      this.frame.document.close()
      // what the worker's script calls: its answers come here, and not to the frame itself
      this.frame.postMessage = data => this.answer(data)
      this.frame.importScripts = (...urls) => urls.reduce(
        (before, next) => before.then(() => load(this.frame, next)), Promise.resolve()
      )
      this.ready = load(this.frame, String(url))
    }

    answer(data) {
      const event = new MessageEvent("message", { data: data })
      this.dispatchEvent(event)
      if (this.onmessage) this.onmessage(event)
    }

    postMessage(data) {
      this.ready.then(() => this.frame.dispatchEvent(new MessageEvent("message", { data: data })))
    }

    terminate() {
      this.frame.frameElement.remove()
    }
  }

  window.Worker = FrameWorker
})()
