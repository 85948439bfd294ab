"""Where text is in a picture: the probability for each pixel, by onnxruntime."""

import os

import onnxruntime
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """What the server calls."""

    def initialize(self, args):
        """Load the network that lies beside this file."""
        options = onnxruntime.SessionOptions()
        # The benches share the processors with the server.
        options.intra_op_num_threads = 1
        folder = os.path.join(args["model_repository"], args["model_version"])
        self.session = onnxruntime.InferenceSession(
            os.path.join(folder, "detector.onnx"), options, providers=["CPUExecutionProvider"]
        )
        self.input = self.session.get_inputs()[0].name

    def execute(self, requests):
        """Answer each request by itself; one that fails does not fail the others."""
        responses = []
        for request in requests:
            picture = pb_utils.get_input_tensor_by_name(request, "INPUT0").as_numpy()
            if picture.shape[2] % 32 or picture.shape[3] % 32:
                error = pb_utils.TritonError(
                    f"INPUT0 has shape {list(picture.shape)}: height and width must be multiples of 32"
                )
                responses.append(pb_utils.InferenceResponse([], error=error))
                continue
            (found,) = self.session.run(None, {self.input: picture})
            responses.append(pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT0", found)]))
        return responses
