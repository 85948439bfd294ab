"""The first 512 values of INPUT0 plus one, and the first five of INPUT1 doubled, sample by sample."""

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """What the server calls."""

    def execute(self, requests):
        """Answer each request by itself."""
        responses = []
        for request in requests:
            image = pb_utils.get_input_tensor_by_name(request, "INPUT0").as_numpy()
            numbers = pb_utils.get_input_tensor_by_name(request, "INPUT1").as_numpy()
            values = image.reshape(len(image), -1)[:, :512] + np.float32(1)
            doubled = numbers[:, :5] * np.int32(2)
            outputs = [pb_utils.Tensor("OUTPUT0", values), pb_utils.Tensor("OUTPUT1", doubled)]
            responses.append(pb_utils.InferenceResponse(outputs))
        return responses
