import NormaTensor

/// The statistics of one partition, broadcastable to [N, C].
struct PooledStatistics {
  let mean: Tensor
  /// Biased: the mean squared deviation.
  let variance: Tensor
}

/// One member of a mix: a partition whose statistics come from the data, or fixed ones.
enum Branch {
  case pooled(Partition)
  /// Statistics that do not depend on the input, such as running averages.
  case fixed(PooledStatistics)
}

/// Normalization by a mix of pooled moments: the one computation behind the whole family.
///
///     m, v  = moments of every plane (n, c)                              kernel 1
///     μ_k   = P_k(m),   σ²_k = P_k(v + (m − μ_k)²)                       per partition k
///     μ     = Σ w_k μ_k,  σ² = Σ λ_k σ²_k,  w, λ = softmax(logits)       mix
///     y     = a (x − μ) + β,  a = γ / √(σ² + ε)                          kernel 2
///
/// The variance of a part is the mean variance of its planes plus the variance of their means (law of
/// total variance): exact, and without the cancellation of E[x²] − E[x]². The backward pass is in
/// closed form: one reduction over the gradient (kernel 3), algebra on N×C numbers, one application
/// (kernel 4).
///
/// Sources: Ioffe & Szegedy 2015 (batch), Ba et al. 2016 (layer), Ulyanov et al. 2016 (instance), Wu & He
/// 2018 (group), Luo et al. 2019 (switchable, sections 3 and appendix).
struct MomentNormalization {
  let branches: [Branch]
  /// Logits of the mixing weights [K]; nil for a single branch.
  var meanLogits: Tensor?
  var varianceLogits: Tensor?
  /// [C], or nil for γ = 1, β = 0.
  var weight: Tensor?
  var bias: Tensor?
  let epsilon: Double

  static let kernels: any MomentKernels = LibtorchMomentKernels()

  /// - Returns: the normalized tensor and the statistics of every branch.
  func callAsFunction(_ x: Tensor) throws -> (output: Tensor, statistics: [PooledStatistics]) {
    var statistics: [PooledStatistics] = []
    let optionals = [weight, bias, meanLogits, varianceLogits]
    let output = try CustomFunction.apply(
      "normalization", inputs: [x] + optionals.compactMap { $0 }, isTwiceDifferentiable: false
    ) {
      let forward = try Forward(self, x)
      statistics = forward.statistics
      let output = try forward.output(x)
      // Only the input is saved as a tensor that autograd watches; tables are the function's own.
      return (
        outputs: [output], saved: [x],
        backward: { pass in
          guard let g = pass.gradients[0] else { return pass.needed.map { _ in nil } }
          let all = try forward.backward(g, x: pass.saved[0])
          let given = optionals.map { $0 != nil }
          return [all.x]
            + zip(given, [all.weight, all.bias, all.meanLogits, all.varianceLogits])
            .compactMap { $0 ? .some($1) : nil }
        }
      )
    }
    return (output[0], statistics)
  }
}

/// One evaluation, with the tables that its backward pass needs. It must not hold the output: the output's
/// record holds the backward pass, which holds this.
private struct Forward {
  let normalization: MomentNormalization
  let statistics: [PooledStatistics]
  /// Means of the planes, or nil when no branch looks at the data.
  private let moments: Moments?
  private let mean: Tensor
  /// 1 / √(σ² + ε).
  private let reciprocalDeviation: Tensor
  private let scale: Tensor
  private let bias: Tensor?
  private let meanShares: [Tensor]
  private let varianceShares: [Tensor]
  private let tableShape: [Int]
  private let positions: Int

  init(_ normalization: MomentNormalization, _ x: Tensor) throws {
    self.normalization = normalization
    let shape = x.shape
    tableShape = [shape[0], shape[1]]
    positions = shape.dropFirst(2).reduce(1, *)
    let dtype = x.dtype.accumulation

    let looksAtData = normalization.branches.contains { if case .pooled = $0 { true } else { false } }
    let moments = looksAtData ? try MomentNormalization.kernels.moments(of: x) : nil
    self.moments = moments
    let statistics = try normalization.branches.map { branch in
      switch branch {
      case .fixed(let statistics):
        return PooledStatistics(
          mean: try statistics.mean.to(dtype: dtype), variance: try statistics.variance.to(dtype: dtype))
      case .pooled(let partition):
        let mean = try partition.pool(moments!.mean)
        if partition == .instance { return PooledStatistics(mean: mean, variance: moments!.variance) }
        let variance = try partition.pool(moments!.variance + (moments!.mean - mean).squared())
        return PooledStatistics(mean: mean, variance: variance)
      }
    }
    self.statistics = statistics

    func shares(_ logits: Tensor?) throws -> [Tensor] {
      guard let logits else { return [] }
      let shares = try logits.to(dtype: dtype).softmax(0)
      return try statistics.indices.map { try shares.selected($0) }
    }
    func mix(_ values: [Tensor], _ shares: [Tensor]) throws -> Tensor {
      guard !shares.isEmpty else { return values[0] }
      let terms = try zip(values, shares).map { try $0 * $1 }
      return try terms.dropFirst().reduce(terms[0]) { try $0 + $1 }
    }
    meanShares = try shares(normalization.meanLogits)
    varianceShares = try shares(normalization.varianceLogits)
    mean = try mix(statistics.map(\.mean), meanShares).expanded(tableShape)
    let variance = try mix(statistics.map(\.variance), varianceShares)
    let reciprocal = try (variance + normalization.epsilon).reciprocalSquareRoot().expanded(tableShape)
    reciprocalDeviation = reciprocal
    scale = try normalization.weight.map { try $0.to(dtype: dtype) * reciprocal } ?? reciprocal
    bias = try normalization.bias?.to(dtype: dtype)
  }

  func output(_ x: Tensor) throws -> Tensor {
    let shift = try bias?.expanded(tableShape) ?? mean.zerosLike()
    return try MomentNormalization.kernels.scaleShift(x, scale: scale, center: mean, shift: shift)
  }

  struct Gradients {
    var x: Tensor
    var weight: Tensor?
    var bias: Tensor?
    var meanLogits: Tensor?
    var varianceLogits: Tensor?
  }

  func backward(_ g: Tensor, x: Tensor) throws -> Gradients {
    let kernels = MomentNormalization.kernels
    // Around the plane's own mean where it is known, so that large means lose no digits.
    let center = moments?.mean ?? mean
    let sums = try kernels.reductions(gradient: g, x: x, center: center)
    // Σ g · (x − μ): what the scale a is multiplied with.
    let scaleGradient = try sums.products + (center - mean) * sums.sums
    let weighted = try scaleGradient * reciprocalDeviation

    // Statistics that depend on the data: dμ = −a Σg; dσ² = −½ γ r³ Σ g (x − μ).
    let meanGradient = try -(scale * sums.sums)
    let varianceGradient = try -0.5 * (scale * reciprocalDeviation * weighted)
    let (dMean, dVariance) = try throughPooling(meanGradient, varianceGradient)

    // dx = a g + 2 dv/M (x − m) + dm/M.
    let count = Double(positions)
    let dx = try kernels.apply(
      gradient: g, x: x, scale: scale, factor: dVariance * (2 / count), center: center,
      shift: dMean / count)
    return Gradients(
      x: dx, weight: try weighted.sum([0]), bias: try sums.sums.sum([0]),
      meanLogits: try logitGradient(meanShares, statistics.map(\.mean), meanGradient),
      varianceLogits: try logitGradient(varianceShares, statistics.map(\.variance), varianceGradient))
  }

  /// Gradients with respect to the planes' own means and variances.
  private func throughPooling(_ meanGradient: Tensor, _ varianceGradient: Tensor) throws -> (Tensor, Tensor) {
    var dMean = try meanGradient.zerosLike()
    var dVariance = dMean
    for (index, branch) in normalization.branches.enumerated() {
      guard case .pooled(let partition) = branch, let moments else { continue }
      let meanPart = meanShares.isEmpty ? meanGradient : try meanGradient * meanShares[index]
      let variancePart = varianceShares.isEmpty ? varianceGradient : try varianceGradient * varianceShares[index]
      let pooled = try partition.pool(variancePart)
      dMean = try dMean + partition.pool(meanPart)
      dVariance = try dVariance + pooled
      if partition != .instance {
        dMean = try dMean + 2 * (moments.mean - statistics[index].mean) * pooled
      }
    }
    return (dMean, dVariance)
  }

  /// Gradient of the softmax's logits: w_k (t_k − Σ w_j t_j) for t_k = Σ gradient · value_k.
  private func logitGradient(_ shares: [Tensor], _ values: [Tensor], _ gradient: Tensor) throws -> Tensor? {
    guard !shares.isEmpty else { return nil }
    let totals = try Tensor.stack(values.map { try (gradient * $0).sum() })
    let weights = try Tensor.stack(shares)
    return try weights * (totals - (weights * totals).sum())
  }
}
