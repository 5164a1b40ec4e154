import NormaTensor

/// Two convolutions whose gradients libtorch computes many times slower than memory allows, as matrix products instead: the
/// first of a network, with few inputs that want no gradient, and the 1×1 convolution to few outputs that often is the
/// last. For the CPU, stride 1 and whole layers (one group).
enum ThinConvolution {
  case fewInputs
  case fewOutputs

  /// nil when the convolution is neither.
  init?(
    input: Tensor, weight: Tensor, stride: [Int], dilation: [Int], padding: [Int], groups: Int
  ) {
    let shape = weight.shape
    guard gradientsAreRecorded, shape.count == 4, input.rank == 4, groups == 1, input.device == .cpu,
      input.dtype != .bfloat16, padding.count == 2, (stride + dilation).allSatisfy({ $0 == 1 }),
      input.shape[1] == shape[1]
    else { return nil }
    // The windows are copied out, so they must not be many.
    let windows = shape[1...].reduce(1, *)
    if !input.requiresGradient, windows <= 32,
      input.count / shape[1] * windows <= 1 << 23
    {
      self = .fewInputs
    } else if shape[0] <= 4, shape[2...].allSatisfy({ $0 == 1 }), padding.allSatisfy({ $0 == 0 }) {
      self = .fewOutputs
    } else {
      return nil
    }
  }

  func callAsFunction(_ input: Tensor, weight: Tensor, bias: Tensor?, padding: [Int]) throws -> Tensor {
    try CustomFunction.apply(
      "convolution", inputs: [input, weight] + (bias.map { [$0] } ?? []), isTwiceDifferentiable: input.recipe == nil
    ) {
      let output = try input.convolution(
        weight: weight, bias: bias, stride: [1, 1], padding: padding, dilation: [1, 1])
      let hasBias = bias != nil
      let recipe = input.recipeOrSelf
      let compute = recipe.compute
      return (
        outputs: [output], saved: recipe.inputs + [weight],
        backward: { pass in
          guard let g = pass.gradients[0] else { return pass.needed.map { _ in nil } }
          let (x, w) = (try compute(Array(pass.saved.dropLast())), pass.saved.last!)
          let gradients: [Tensor?] =
            switch self {
            case .fewInputs:
              [nil, pass.needed[1] ? try Self.weightGradient(g, x, like: w, padding: padding) : nil]
            case .fewOutputs: try Self.gradients(g, x, w, needed: pass.needed)
            }
          return gradients + (hasBias ? [try g.sum([0, 2, 3])] : [])
        }
      )
    }[0]
  }

  /// Every window of x as a column, times g.
  private static func weightGradient(_ g: Tensor, _ x: Tensor, like weight: Tensor, padding: [Int]) throws -> Tensor {
    let columns = try x.windows(kernel: Array(weight.shape.dropFirst(2)), padding: padding)
    let products = try columns.matmul(g.rowsOfChannels())
    return try products.sum([0]).transposed(0, 1).reshaped(weight.shape)
  }

  private static func gradients(
    _ g: Tensor, _ x: Tensor, _ weight: Tensor, needed: [Bool]
  ) throws -> [Tensor?] {
    let (outputs, inputs) = (weight.shape[0], weight.shape[1])
    let shape = x.shape
    let rows = try g.rowsOfChannels().reshaped([-1, outputs])
    let dx =
      needed[0]
      ? try rows.matmul(weight.reshaped([outputs, inputs]))
        .reshaped([shape[0], shape[2], shape[3], inputs]).permuted([0, 3, 1, 2]) : nil
    let dWeight =
      needed[1]
      ? try rows.transposed(0, 1).matmul(x.rowsOfChannels().reshaped([-1, inputs])).reshaped(weight.shape) : nil
    return [dx, dWeight]
  }
}

extension Tensor {
  /// [N, C, H, W] → [N, H·W, C]; without a copy where channels lie last.
  fileprivate func rowsOfChannels() throws -> Tensor {
    let shape = shape
    return try permuted([0, 2, 3, 1]).reshaped([shape[0], shape[2] * shape[3], shape[1]])
  }
}
