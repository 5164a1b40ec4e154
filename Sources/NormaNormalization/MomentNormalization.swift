import NormaNN
import NormaTensor

/// Normalization by a mix of pooled moments: the one computation behind the whole family.
///
///     m, v   = moments of every plane (n, c)                   first pass over x
///     a, μ   = the mix's solution                              N×C numbers: MomentMix
///     y      = act(a (x − μ) + β)                              second pass
///
/// The backward pass is in closed form: one reduction over the gradient, algebra on N×C numbers (``MomentGradient``),
/// one application. It keeps x and N×C numbers, and no copy of y.
///
/// Sources: Ioffe & Szegedy 2015 (batch), Ba et al. 2016 (layer), Ulyanov et al. 2016 (instance), Wu & He
/// 2018 (group), Luo et al. 2019 (switchable, sections 3 and appendix).
struct MomentNormalization {
  var branches: [Branch]
  var mixture = Mixture.one
  /// [C], or [N, C] for values of every sample's own; nil for γ = 1, β = 0.
  var weight: Tensor?
  var bias: Tensor?
  /// [C], what the data lack: the bias of the convolution before. It shifts means and nothing else, so that neither
  /// adding it nor reducing its gradient takes a pass over the data.
  var inputBias: Tensor?
  let epsilon: Double
  /// Multiplies the variances of the planes before all else.
  var varianceFactor = 1.0
  var renormalization: Renormalization?
  var activation = FusedActivation.none
  /// Where the numbers of a fixed branch come from.
  var kept: RunningStatistics?

  /// Takes the place of the kernels that fit the tensor; for comparing implementations.
  @TaskLocal static var kernelsOverride: (any MomentKernels)?

  static func kernels(for x: Tensor) throws -> any MomentKernels {
    if let kernelsOverride { return kernelsOverride }
    return FusedMomentKernels.supports(x) ? try FusedMomentKernels.best.get() : LibtorchMomentKernels()
  }

  /// - Returns: the normalized tensor and the mix, which knows every branch's statistics.
  func callAsFunction(_ x: Tensor) throws -> (output: Tensor, mix: MomentMix) {
    try OperatorTrace.isRecording ? recorded(x) : computed(x)
  }

  func computed(_ x: Tensor) throws -> (output: Tensor, mix: MomentMix) {
    let kernels = try Self.kernels(for: x)
    let optionals = optionals
    let mix = try solver(
      for: x, shape: kernels.shape(of: x, branches: branches, keepsSamples: isPerSample || varianceFactor != 1),
      optionals)
    let activation = activation
    let output = try CustomFunction.apply(
      "normalization", inputs: [x] + optionals.compactMap { $0 }, isTwiceDifferentiable: false
    ) {
      let output = try Profiler.section("norma::normalization_forward") { try kernels.forward(x, mix, activation) }
      if let failure = mix.failure { throw failure }
      // Only the input is saved as a tensor that autograd watches; tables are the function's own.
      return (
        outputs: [output], saved: [x],
        backward: { pass in
          guard let g = pass.gradients[0] else { return pass.needed.map { _ in nil } }
          let gradient = MomentGradient(mix)
          let dx = try Profiler.section("norma::normalization_backward") {
            try kernels.backward(g, x: pass.saved[0], mix, gradient, activation)
          }
          if let failure = gradient.failure { throw failure }
          let found = gradient.parameters()
          let all = [found.weight, found.bias, found.inputBias, found.meanLogits, found.varianceLogits]
          return try [dx]
            + zip(optionals, all).compactMap { parameter, values -> Tensor?? in
              guard let parameter else { return nil }
              return .some(try parameter.like(values))
            }
        }
      )
    }
    if Recomputation.isEnabled {
      output[0].attach(Recipe([x]) { try kernels.replay($0[0], mix, activation) })
    }
    return (output[0], mix)
  }

  /// With the statistics that an image of the given planes' moments has in the place of the data's own.
  func fixed(by moments: PlaneMoments, for x: Tensor) throws -> MomentNormalization {
    let mix = try solver(for: x, shape: MomentShape(moments), optionals)
    mix.take(moments)
    var fixed = self
    (fixed.branches, fixed.mixture, fixed.varianceFactor) = ([mix.solution], .one, 1)
    return fixed
  }

  private var optionals: [Tensor?] { [weight, bias, inputBias, mixture.logits?.mean, mixture.logits?.variance] }

  private var isPerSample: Bool { weight?.rank == 2 || bias?.rank == 2 }

  private func solver(for x: Tensor, shape: MomentShape, _ optionals: [Tensor?]) throws -> MomentMix {
    let numbers = try values(optionals)
    let shares = mixture.shares(numbers[3], numbers[4])
    return MomentMix(
      shape: shape,
      MixRecipe(
        branches: branches, meanShares: shares.mean, varianceShares: shares.variance, weight: numbers[0],
        bias: numbers[1], perSample: isPerSample, inputBias: numbers[2], epsilon: epsilon,
        varianceFactor: varianceFactor, renormalization: renormalization,
        synchronization: try Synchronization(branches, origin: kept?.mean?.value.array()),
        roundsToFloat: x.dtype != .float64))
  }

  /// The parameters as numbers. From a device they come in one transfer.
  private func values(_ given: [Tensor?]) throws -> [[Double]?] {
    let tensors = given.compactMap { $0 }
    guard let first = tensors.first else { return given.map { _ in nil } }
    var numbers: [[Double]]
    if first.device == .cpu {
      numbers = try tensors.map { try $0.doubles() }
    } else {
      let type: DType = tensors.contains { $0.dtype == .float64 } ? .float64 : .float32
      let all: [Double] = try withoutGradients {
        try Tensor.concatenate(tensors.map { try $0.to(dtype: type).reshaped([-1]) }, dimension: 0).array()
      }
      var start = 0
      numbers = tensors.map { tensor in
        defer { start += tensor.count }
        return Array(all[start..<start + tensor.count])
      }
    }
    numbers.reverse()
    return given.map { tensor -> [Double]? in tensor == nil ? nil : numbers.removeLast() }
  }
}

extension Tensor {
  /// The elements; for small float tensors without a detour over other tensors.
  fileprivate func doubles() throws -> [Double] {
    guard dtype == .float32, isContiguous() else { return try array() }
    let count = count
    return try withDataPointer { pointer in
      let floats = pointer.assumingMemoryBound(to: Float.self)
      return (0..<count).map { Double(floats[$0]) }
    }
  }

  /// The numbers as a tensor of this one's type and shape, on its device.
  fileprivate func like(_ values: [Double]) throws -> Tensor {
    if dtype == .float32 { return try Tensor(values.map { Float($0) }, shape: shape, device: device) }
    return try Tensor(values, shape: shape).to(dtype: dtype).to(device: device)
  }
}

func exponentialShares(_ logits: [Double]) -> [Double] {
  let greatest = logits.max() ?? 0
  let powers = logits.map { exponential($0 - greatest) }
  let sum = powers.reduce(0, +)
  return powers.map { $0 / sum }
}
