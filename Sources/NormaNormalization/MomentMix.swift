/// One member of a mix: a partition whose statistics come from the data, or fixed ones.
enum Branch {
  case pooled(Partition)
  /// Statistics per channel that do not depend on the input, such as running averages.
  case fixed(mean: [Double], variance: [Double])

  var partition: Partition? { if case .pooled(let partition) = self { partition } else { nil } }
}

/// The algebra between the passes over the data, on N×C numbers in Double.
///
///     μ_k = P_k(m),   σ²_k = P_k(v + (m − μ_k)²)                 per branch k
///     μ   = Σ w_k μ_k,  σ² = Σ λ_k σ²_k
///     a   = γ / √(σ² + ε),   y = a (x − μ) + β
///
/// The variance of a part is the mean variance of its planes plus the variance of their means (law of
/// total variance): exact, and without the cancellation of E[x²] − E[x]².
///
/// It works on blocks, so that a block's data can be normalized while they are still in the cache; blocks can be
/// solved on different threads.
final class MomentMix: @unchecked Sendable {
  let shape: MomentShape
  let branches: [Branch]
  /// w and λ, one per branch.
  let meanShares: [Double]
  let varianceShares: [Double]
  private let weight: [Double]?
  private let bias: [Double]?
  /// Added to the data of every channel before normalization, in these numbers only.
  private let inputBias: [Double]?
  private let epsilon: Double
  /// Whether the data's arithmetic is Float, which the center must be representable in.
  private let roundsToFloat: Bool

  /// Kept for the backward pass: 5 tables, then mean and variance of every branch.
  private let tables: MomentTables
  /// m and v of the planes, written by the first pass over the data. Needed until ``solve(_:)``; m also after.
  let mean: UnsafeMutablePointer<Double>
  let variance: UnsafeMutablePointer<Double>
  private let mixedMean: UnsafeMutablePointer<Double>
  private let reciprocalDeviation: UnsafeMutablePointer<Double>
  /// y = scale · (x − center) + shift.
  let scale: UnsafeMutablePointer<Double>
  let center: UnsafeMutablePointer<Double>
  let shift: UnsafeMutablePointer<Double>
  private let branchMeans: [UnsafeMutablePointer<Double>]
  private let branchVariances: [UnsafeMutablePointer<Double>]

  init(
    shape: MomentShape, branches: [Branch], meanShares: [Double], varianceShares: [Double], weight: [Double]?,
    bias: [Double]?, inputBias: [Double]? = nil, epsilon: Double, roundsToFloat: Bool
  ) {
    self.shape = shape
    self.branches = branches
    self.meanShares = meanShares
    self.varianceShares = varianceShares
    self.weight = weight
    self.bias = bias
    self.inputBias = inputBias
    self.epsilon = epsilon
    self.roundsToFloat = roundsToFloat
    let tables = MomentTables(7 + 2 * branches.count, shape)
    self.tables = tables
    mean = tables[0]
    variance = tables[1]
    mixedMean = tables[2]
    reciprocalDeviation = tables[3]
    scale = tables[4]
    center = tables[5]
    shift = tables[6]
    // The statistics of planes are those of the branch that pools nothing.
    branchMeans = branches.indices.map { branches[$0].partition == .instance ? tables[0] : tables[7 + 2 * $0] }
    branchVariances = branches.indices.map { branches[$0].partition == .instance ? tables[1] : tables[8 + 2 * $0] }
  }

  /// Whether any statistics come from the data.
  var looksAtData: Bool { branches.contains { $0.partition != nil } }

  /// The statistics of one branch in the first sample: the values per channel for a branch that pools samples.
  func statistics(ofBranch k: Int) -> (mean: [Double], variance: [Double]) {
    let count = shape.channels
    return (
      Array(UnsafeBufferPointer(start: branchMeans[k], count: count)),
      Array(UnsafeBufferPointer(start: branchVariances[k], count: count))
    )
  }

  /// From the moments of the block's planes to the coefficients of its scale and shift.
  func solve(_ block: TableBlock) {
    if let inputBias, looksAtData {
      for n in block.samples {
        for c in block.channels { mean[n * shape.channels + c] += inputBias[c] }
      }
    }
    for (k, branch) in branches.enumerated() {
      switch branch {
      case .pooled(.instance): break
      case .pooled(let partition):
        let (means, variances) = (branchMeans[k], branchVariances[k])
        partition.pool(mean, into: means, block)
        for n in block.samples {
          for cell in block.cells(ofSample: n) {
            let difference = mean[cell] - means[cell]
            variances[cell] = variance[cell] + difference * difference
          }
        }
        partition.pool(variances, into: variances, block)
      case .fixed(let means, let variances):
        for n in block.samples {
          for c in block.channels {
            branchMeans[k][n * shape.channels + c] = means[c]
            branchVariances[k][n * shape.channels + c] = variances[c]
          }
        }
      }
    }
    for n in block.samples {
      let row = n * shape.channels
      for c in block.channels {
        let cell = row + c
        var (mu, variance) = (0.0, epsilon)
        for k in branches.indices {
          mu += meanShares[k] * branchMeans[k][cell]
          variance += varianceShares[k] * branchVariances[k][cell]
        }
        let reciprocal = 1 / variance.squareRoot()
        let a = (weight?[c] ?? 1) * reciprocal
        // The part of the mean that the data's type cannot hold goes into the shift. From here on the mean is that of
        // the data without the bias.
        mu -= inputBias?[c] ?? 0
        let rounded = roundsToFloat ? Double(Float(mu)) : mu
        mixedMean[cell] = mu
        reciprocalDeviation[cell] = reciprocal
        scale[cell] = a
        center[cell] = rounded
        shift[cell] = (bias?[c] ?? 0) + a * (rounded - mu)
      }
    }
  }
}

/// The algebra of the backward pass.
///
///     dβ = Σ g,   dγ = Σ r A,   A = Σ g (x − μ)
///     dμ = −a Σ g,   dσ² = −½ a r² A
///     dm = Σ w_k P_k(dμ) + 2 (m − μ_k) λ_k P_k(dσ²),   dv = Σ λ_k P_k(dσ²)
///     dx = a g + 2 dv/M (x − m) + dm/M,   d(input bias) = Σ dx = a Σ g + dm
///
/// with sums over a plane, g being the gradient before the activation.
final class MomentGradient: @unchecked Sendable {
  private let mix: MomentMix
  private let tables: MomentTables
  /// Σ g (x − center) and Σ g of the planes, written by the first pass over the gradient.
  let products: UnsafeMutablePointer<Double>
  let sums: UnsafeMutablePointer<Double>
  /// dx = scale · g + factor · (x − center) + offset.
  let factor: UnsafeMutablePointer<Double>
  let offset: UnsafeMutablePointer<Double>
  private let meanGradient: UnsafeMutablePointer<Double>
  private let varianceGradient: UnsafeMutablePointer<Double>
  private let pooledMeanGradient: UnsafeMutablePointer<Double>
  private let pooledVarianceGradient: UnsafeMutablePointer<Double>
  /// Σ dx.
  private let inputSums: UnsafeMutablePointer<Double>

  init(_ mix: MomentMix) {
    self.mix = mix
    tables = MomentTables(9, mix.shape)
    products = tables[0]
    sums = tables[1]
    factor = tables[2]
    offset = tables[3]
    meanGradient = tables[4]
    varianceGradient = tables[5]
    pooledMeanGradient = tables[6]
    pooledVarianceGradient = tables[7]
    inputSums = tables[8]
  }

  /// From the sums of the block's planes to the coefficients of its dx.
  func solve(_ block: TableBlock) {
    for n in block.samples {
      for cell in block.cells(ofSample: n) { mix.differentiate(self, cell) }
    }
    let perPosition = 1 / Double(mix.shape.positions)
    for (k, branch) in mix.branches.enumerated() {
      guard case .pooled(let partition) = branch else { continue }
      let (w, l) = (mix.meanShares[k], mix.varianceShares[k])
      if partition == .instance {
        for n in block.samples {
          for cell in block.cells(ofSample: n) {
            offset[cell] += w * meanGradient[cell]
            factor[cell] += l * varianceGradient[cell]
          }
        }
        continue
      }
      partition.pool(meanGradient, into: pooledMeanGradient, block)
      partition.pool(varianceGradient, into: pooledVarianceGradient, block)
      for n in block.samples {
        for cell in block.cells(ofSample: n) {
          let pooled = l * pooledVarianceGradient[cell]
          offset[cell] += w * pooledMeanGradient[cell] + 2 * mix.deviation(ofBranch: k, cell) * pooled
          factor[cell] += pooled
        }
      }
    }
    for n in block.samples {
      for cell in block.cells(ofSample: n) { inputSums[cell] = mix.scale[cell] * sums[cell] + offset[cell] }
    }
    guard mix.looksAtData else { return }
    // From dm and dv to what is added per position, around the center instead of the plane's mean.
    for n in block.samples {
      for cell in block.cells(ofSample: n) {
        let q = 2 * factor[cell] * perPosition
        offset[cell] = offset[cell] * perPosition + q * (mix.center[cell] - mix.dataMean(cell))
        factor[cell] = q
      }
    }
  }

  /// Gradients of the parameters, once all blocks are solved.
  func parameters() -> (
    weight: [Double], bias: [Double], inputBias: [Double], meanLogits: [Double], varianceLogits: [Double]
  ) {
    let shape = mix.shape
    var weight = [Double](repeating: 0, count: shape.channels)
    var bias = weight
    var inputBias = weight
    for n in 0..<shape.samples {
      for c in 0..<shape.channels {
        // `solve` left r A in the table of products.
        weight[c] += products[n * shape.channels + c]
        bias[c] += sums[n * shape.channels + c]
        inputBias[c] += inputSums[n * shape.channels + c]
      }
    }
    return (
      weight, bias, inputBias, mix.logitGradient(mix.meanShares, meanGradient, mean: true),
      mix.logitGradient(mix.varianceShares, varianceGradient, mean: false)
    )
  }

  fileprivate func set(_ cell: Int, weighted: Double, mean: Double, variance: Double) {
    products[cell] = weighted
    meanGradient[cell] = mean
    varianceGradient[cell] = variance
    factor[cell] = 0
    offset[cell] = 0
  }
}

extension MomentMix {
  fileprivate func differentiate(_ gradient: MomentGradient, _ cell: Int) {
    let sum = gradient.sums[cell]
    let (a, r) = (scale[cell], reciprocalDeviation[cell])
    let weighted = (gradient.products[cell] + (center[cell] - mixedMean[cell]) * sum) * r
    gradient.set(cell, weighted: weighted, mean: -a * sum, variance: -0.5 * a * r * weighted)
  }

  /// The plane's mean without the input bias.
  fileprivate func dataMean(_ cell: Int) -> Double { mean[cell] - (inputBias?[cell % shape.channels] ?? 0) }

  /// m − μ_k.
  fileprivate func deviation(ofBranch k: Int, _ cell: Int) -> Double { mean[cell] - branchMeans[k][cell] }

  /// Gradient of the softmax's logits: w_k (t_k − Σ w_j t_j) for t_k = Σ gradient · value_k.
  fileprivate func logitGradient(_ shares: [Double], _ gradient: UnsafePointer<Double>, mean: Bool) -> [Double] {
    let values = mean ? branchMeans : branchVariances
    let totals = values.map { value in
      var total = 0.0
      for cell in 0..<shape.cells { total += gradient[cell] * value[cell] }
      return total
    }
    let average = zip(shares, totals).reduce(0) { $0 + $1.0 * $1.1 }
    return zip(shares, totals).map { $0 * ($1 - average) }
  }
}
