import NormaTensor

/// Trading time for memory: what a backward pass can compute again cheaply is not kept from the forward pass.
///
/// While it is enabled, normalization layers attach to their output how it follows from their input (one pass over the
/// data), and concatenation, pooling and convolutions pass that on or keep it in place of the tensor. The results are the
/// same numbers.
public enum Recomputation {
  @TaskLocal public static var isEnabled = false
}

extension Tensor {
  /// ``convolution(weight:bias:stride:padding:dilation:transposed:outputPadding:groups:)`` that keeps how its input can be
  /// computed again, if that is known, instead of the input.
  func convolutionRecomputing(
    weight: Tensor, bias: Tensor?, stride: [Int], padding: [Int], dilation: [Int], groups: Int
  ) throws -> Tensor {
    func convolve(_ input: Tensor) throws -> Tensor {
      try input.convolution(
        weight: weight, bias: bias, stride: stride, padding: padding, dilation: dilation, groups: groups)
    }
    if let thin = ThinConvolution(
      input: self, weight: weight, stride: stride, dilation: dilation, padding: padding, groups: groups)
    {
      return try thin(self, weight: weight, bias: bias, padding: padding)
    }
    guard let recipe else { return try convolve(self) }
    // Not the recipe itself: its inputs shall go when the record releases them.
    let compute = recipe.compute
    return try CustomFunction.apply(
      "convolution", inputs: [self, weight] + (bias.map { [$0] } ?? []), isTwiceDifferentiable: false
    ) {
      (
        outputs: [try convolve(self)], saved: recipe.inputs + [weight],
        backward: { pass in
          guard let g = pass.gradients[0] else { return pass.needed.map { _ in nil } }
          let input = try compute(Array(pass.saved.dropLast()))
          let gradients = try g.convolutionGradients(
            input: input, weight: pass.saved.last!, stride: stride, padding: padding, dilation: dilation,
            groups: groups, wanted: pass.needed)
          return Array(gradients.prefix(pass.needed.count))
        }
      )
    }[0]
  }

  /// Max-pooling that keeps how its input can be computed again, if that is known, instead of it and of the places of
  /// the maxima.
  func maxPooledRecomputing(kernel: [Int], stride: [Int], padding: [Int]) throws -> Tensor {
    guard let recipe else { return try maxPooled(kernel: kernel, stride: stride, padding: padding) }
    let compute = recipe.compute
    let output = try CustomFunction.apply("max-pooling", inputs: [self], isTwiceDifferentiable: false) {
      (
        outputs: [try maxPooled(kernel: kernel, stride: stride, padding: padding)], saved: recipe.inputs,
        backward: { pass in
          guard let g = pass.gradients[0] else { return [nil] }
          let input = try compute(pass.saved).detached().requiringGradient()
          return try withGradients(enabled: true) {
            try input.maxPooled(kernel: kernel, stride: stride, padding: padding).gradients(of: [input], cotangent: g)
          }
        }
      )
    }[0]
    output.attach(recipe.then { try $0.maxPooled(kernel: kernel, stride: stride, padding: padding) })
    return output
  }

  /// ``concatenate(_:dimension:)`` whose result can be computed again if one of its parts can.
  public static func concatenateRecomputing(_ tensors: [Tensor], dimension: Int) throws -> Tensor {
    let result = try concatenate(tensors, dimension: dimension)
    if tensors.contains(where: { $0.recipe != nil }) {
      result.attach(.concatenation(of: tensors, dimension, like: result))
    }
    return result
  }
}

extension Recipe {
  /// One part after the other goes into the result, so that only one exists beside it.
  fileprivate static func concatenation(of tensors: [Tensor], _ dimension: Int, like result: Tensor) -> Recipe {
    let recipes = tensors.map(\.recipeOrSelf)
    let parts = recipes.map { (compute: $0.compute, inputs: $0.inputs.count) }
    let extents = tensors.map { $0.shape[dimension] }
    let (shape, dtype, device, format) = (result.shape, result.dtype, result.device, result.denseFormat)
    return Recipe(recipes.flatMap(\.inputs)) { inputs in
      let result = try Tensor.empty(shape, dtype: dtype, device: device, memoryFormat: format)
      var (input, start) = (0, 0)
      for (part, extent) in zip(parts, extents) {
        let values = try part.compute(Array(inputs[input..<input + part.inputs]))
        try result.sliced(start..<start + extent, dimension: dimension).copy(from: values)
        input += part.inputs
        start += extent
      }
      return result
    }
  }
}
