"""What each worker of a vLLM server does with new weights. vLLM loads this file (`--worker-extension-cls`), in an
environment in which there is no mopd: it imports nothing."""

from __future__ import annotations

from typing import Any


class WeightsReader:
    """Becomes a base of vLLM's own worker class, so that it can be called over HTTP."""

    get_model: Any
    reload_weights: Any

    def read_weights(self, folder: str) -> None:
        """Take over the weights in a folder.

        On a processor a layer multiplies by a copy of its weight, which is packed when the weight is loaded. An output
        embedding that is tied to the input's has no weight of its own in a file, so vLLM 0.32 leaves its copy as it
        was: it would predict by old weights for ever.
        """
        self.reload_weights(weights_path=folder)
        for layer in self.get_model().modules():
            if hasattr(layer, "cpu_linear") and layer.weight.numel():  # those that keep it beside the copy
                layer.quant_method.process_weights_after_loading(layer)
