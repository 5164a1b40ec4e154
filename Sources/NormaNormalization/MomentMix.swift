/// One member of a mix: a partition whose statistics come from the data, or fixed ones.
enum Branch {
  case pooled(Partition)
  /// Mean squares in the place of variances, and zero in the place of the mean.
  case uncentred(Partition)
  /// Statistics per channel that do not depend on the input, such as running averages.
  case fixed(mean: [Double], variance: [Double])

  /// The partition, where statistics come from the data.
  var partition: Partition? {
    switch self {
    case .pooled(let partition), .uncentred(let partition): partition
    case .fixed: nil
    }
  }

  /// Whether its statistics are the planes' moments themselves.
  fileprivate var isPlain: Bool { if case .pooled(.instance) = self { true } else { false } }
}

/// What a mix is made of besides the data.
struct MixRecipe {
  var branches: [Branch]
  /// w and λ, one per branch.
  var meanShares = Shares.one
  var varianceShares = Shares.one
  /// γ and β: one per channel or, for ``perSample``, one per sample and channel; nil for 1 and 0.
  var weight: [Double]?
  var bias: [Double]?
  var perSample = false
  /// Added to the data of every channel before normalization, in the mix's numbers only.
  var inputBias: [Double]?
  var epsilon: Double
  /// Multiplies the planes' variances before all else: M / (M − 1) for unbiased ones.
  var varianceFactor = 1.0
  var renormalization: Renormalization?
  /// For a branch over several processes.
  var synchronization: Synchronization?
  /// Whether the data's arithmetic is Float, which the center must be representable in.
  var roundsToFloat: Bool
}

/// Batch renormalization: y = γ (r (x − μ) / σ + d) + β pulls a batch's statistics towards the running ones. r and d count
/// as constants in the backward pass. Ioffe 2017, algorithm 1.
struct Renormalization {
  /// Running statistics, per channel.
  var mean: [Double]
  var variance: [Double]
  /// Bounds: 1/rMax ≤ r ≤ rMax, |d| ≤ dMax.
  var rMax: Double
  var dMax: Double

  func correction(_ c: Int, mean batchMean: Double, variance batchVariance: Double, epsilon: Double)
    -> (r: Double, d: Double)
  {
    let deviation = (variance[c] + epsilon).squareRoot()
    return (
      min(max((batchVariance + epsilon).squareRoot() / deviation, 1 / rMax), rMax),
      min(max((batchMean - mean[c]) / deviation, -dMax), dMax)
    )
  }
}

/// The algebra between the passes over the data, on N×C numbers in Double.
///
///     μ_k = P_k(m),   σ²_k = P_k(v + (m − μ_k)²)                 per branch k
///     μ   = Σ w_k μ_k,  σ² = Σ λ_k σ²_k
///     a   = γ / √(σ² + ε),   y = a (x − μ) + β
///
/// An uncentred branch has μ_k = 0 and σ²_k = P_k(v + m²), and the same algebra. The variance of a part is the mean variance of its planes plus the variance of their means (law of
/// total variance): exact, and without the cancellation of E[x²] − E[x]².
///
/// It works on blocks, so that a block's data can be normalized while they are still in the cache; blocks can be
/// solved on different threads.
final class MomentMix: @unchecked Sendable {
  let shape: MomentShape
  let recipe: MixRecipe
  var branches: [Branch] { recipe.branches }

  /// 7 tables, 2 more for renormalization, then mean and variance of every branch.
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
  /// r and d of ``Renormalization``, per channel.
  fileprivate let gains: UnsafeMutablePointer<Double>
  fileprivate let lifts: UnsafeMutablePointer<Double>
  private let branchMeans: [UnsafeMutablePointer<Double>]
  private let branchVariances: [UnsafeMutablePointer<Double>]

  /// Values per channel that a branch over several processes was taken over.
  private(set) var synchronizedValues: Double?
  /// Why the processes could not be reached; then the solution means nothing.
  private(set) var failure: (any Error)?

  init(shape: MomentShape, _ recipe: MixRecipe) {
    self.shape = shape
    self.recipe = recipe
    let branches = recipe.branches
    let fixed = recipe.renormalization == nil ? 7 : 9
    let tables = MomentTables(fixed + 2 * branches.count, shape)
    self.tables = tables
    mean = tables[0]
    variance = tables[1]
    mixedMean = tables[2]
    reciprocalDeviation = tables[3]
    scale = tables[4]
    center = tables[5]
    shift = tables[6]
    (gains, lifts) = (tables[fixed - 2], tables[fixed - 1])
    // The statistics of planes are those of the branch that pools nothing.
    branchMeans = branches.indices.map { branches[$0].isPlain ? tables[0] : tables[fixed + 2 * $0] }
    branchVariances = branches.indices.map { branches[$0].isPlain ? tables[1] : tables[fixed + 1 + 2 * $0] }
  }

  /// Whether any statistics come from the data.
  var looksAtData: Bool { branches.contains { $0.partition != nil } }

  /// The statistics of one branch per channel, averaged over the samples.
  func statistics(ofBranch k: Int) -> (mean: [Double], variance: [Double]) {
    func average(_ table: UnsafePointer<Double>) -> [Double] {
      // All samples have the same.
      let samples = [.batch, .synchronized].contains(branches[k].partition) ? 1 : shape.samples
      return (0..<shape.channels).map { c in
        var sum = 0.0
        for n in 0..<samples { sum += table[n * shape.channels + c] }
        return sum / Double(samples)
      }
    }
    return (average(branchMeans[k]), average(branchVariances[k]))
  }

  /// Mean of the part that a cell belongs to, of one branch.
  func means(_ k: Int) -> UnsafePointer<Double> { UnsafePointer(branchMeans[k]) }
  func variances(_ k: Int) -> UnsafePointer<Double> { UnsafePointer(branchVariances[k]) }

  /// Σ w_k μ_k and Σ λ_k σ²_k.
  @inline(__always)
  private func mixed(
    _ cell: Int, _ meanShares: [Double], _ varianceShares: [Double]
  ) -> (mean: Double, variance: Double) {
    var (mu, variance) = (0.0, 0.0)
    for k in branchMeans.indices {
      mu += meanShares[k] * branchMeans[k][cell]
      variance += varianceShares[k] * branchVariances[k][cell]
    }
    return (mu, variance)
  }

  /// The solved statistics of the first sample, as a branch that looks at no data.
  var solution: Branch {
    let found = (0..<shape.channels).map { mixed($0, recipe.meanShares.values, recipe.varianceShares.values) }
    return .fixed(mean: found.map(\.mean), variance: found.map(\.variance))
  }

  private func synchronize(_ k: Int, _ synchronization: Synchronization) {
    do {
      let isCentred = if case .pooled = branches[k] { true } else { false }
      synchronizedValues = try synchronization.pool(
        mean, variance, into: branchMeans[k], branchVariances[k], shape, isCentred: isCentred)
    } catch { failure = error }
  }

  /// P_k of the gradients of a branch's means and variances, for the parts inside the block.
  func pool(
    _ partition: Partition, _ means: UnsafePointer<Double>, _ variances: UnsafePointer<Double>,
    into pooledMeans: UnsafeMutablePointer<Double>, _ pooledVariances: UnsafeMutablePointer<Double>,
    _ block: TableBlock
  ) throws {
    if let synchronization = recipe.synchronization, partition == .synchronized {
      try synchronization.pullBack(
        means, variances, into: pooledMeans, pooledVariances, shape, values: synchronizedValues ?? 1)
    } else {
      partition.pool(means, into: pooledMeans, block)
      partition.pool(variances, into: pooledVariances, block)
    }
  }

  /// From the moments of the block's planes to the coefficients of its scale and shift. A mix over several processes is solved as a
  /// whole; what fails there is ``failure``.
  func solve(_ block: TableBlock) {
    let (inputBias, weight, bias) = (recipe.inputBias, recipe.weight, recipe.bias)
    if let inputBias, looksAtData {
      for n in block.samples {
        for c in block.channels { mean[n * shape.channels + c] += inputBias[c] }
      }
    }
    if recipe.varianceFactor != 1, looksAtData {
      for n in block.samples {
        for cell in block.cells(ofSample: n) { variance[cell] *= recipe.varianceFactor }
      }
    }
    for (k, branch) in branches.enumerated() {
      if let synchronization = recipe.synchronization, branch.partition == .synchronized {
        synchronize(k, synchronization)
        continue
      }
      switch branch {
      case .pooled(.instance): break
      case .uncentred(let partition):
        let (means, variances) = (branchMeans[k], branchVariances[k])
        for n in block.samples {
          for cell in block.cells(ofSample: n) {
            means[cell] = 0
            variances[cell] = variance[cell] + mean[cell] * mean[cell]
          }
        }
        partition.pool(variances, into: variances, block)
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
    let (meanShares, varianceShares) = (recipe.meanShares.values, recipe.varianceShares.values)
    for n in block.samples {
      let row = n * shape.channels
      for c in block.channels {
        let cell = row + c
        let (mean, variance) = mixed(cell, meanShares, varianceShares)
        var mu = mean
        let reciprocal = 1 / (variance + recipe.epsilon).squareRoot()
        let parameter = recipe.perSample ? cell : c
        let gamma = weight?[parameter] ?? 1
        var a = gamma * reciprocal
        var beta = bias?[parameter] ?? 0
        if let renormalization = recipe.renormalization {
          let (r, d) = renormalization.correction(c, mean: mu, variance: variance, epsilon: recipe.epsilon)
          gains[cell] = r
          lifts[cell] = d
          a *= r
          beta += gamma * d
        }
        // The part of the mean that the data's type cannot hold goes into the shift. From here on the mean is that of
        // the data without the bias.
        mu -= inputBias?[c] ?? 0
        let rounded = recipe.roundsToFloat ? Double(Float(mu)) : mu
        mixedMean[cell] = mu
        reciprocalDeviation[cell] = reciprocal
        scale[cell] = a
        center[cell] = rounded
        shift[cell] = beta + a * (rounded - mu)
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
  /// As ``MomentMix/failure``.
  private(set) var failure: (any Error)?

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
      guard let partition = branch.partition else { continue }
      // The mean of an uncentred branch is no function of the data.
      var w = mix.recipe.meanShares.values[k]
      if case .uncentred = branch { w = 0 }
      let l = mix.recipe.varianceShares.values[k]
      if branch.isPlain {
        for n in block.samples {
          for cell in block.cells(ofSample: n) {
            offset[cell] += w * meanGradient[cell]
            factor[cell] += l * varianceGradient[cell]
          }
        }
        continue
      }
      do {
        try mix.pool(
          partition, meanGradient, varianceGradient, into: pooledMeanGradient, pooledVarianceGradient, block)
      } catch { failure = error }
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
        let q = 2 * mix.recipe.varianceFactor * factor[cell] * perPosition
        offset[cell] = offset[cell] * perPosition + q * (mix.center[cell] - mix.dataMean(cell))
        factor[cell] = q
      }
    }
  }

  /// Gradients of the parameters, once all blocks are solved. Those of weight and bias have the shapes that these have.
  func parameters() -> (
    weight: [Double], bias: [Double], inputBias: [Double], meanLogits: [Double], varianceLogits: [Double]
  ) {
    let shape = mix.shape
    let recipe = mix.recipe
    var weight = [Double](repeating: 0, count: recipe.perSample ? shape.cells : shape.channels)
    var bias = weight
    var inputBias = [Double](repeating: 0, count: shape.channels)
    for n in 0..<shape.samples {
      for c in 0..<shape.channels {
        let cell = n * shape.channels + c
        let parameter = recipe.perSample ? cell : c
        // `solve` left r A in the table of products.
        var product = products[cell]
        if recipe.renormalization != nil { product = mix.gains[cell] * product + mix.lifts[cell] * sums[cell] }
        weight[parameter] += product
        bias[parameter] += sums[cell]
        inputBias[c] += inputSums[cell]
      }
    }
    return (
      weight, bias, inputBias, mix.logitGradient(recipe.meanShares, meanGradient, mean: true),
      mix.logitGradient(recipe.varianceShares, varianceGradient, mean: false)
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
  fileprivate func dataMean(_ cell: Int) -> Double { mean[cell] - (recipe.inputBias?[cell % shape.channels] ?? 0) }

  /// m − μ_k.
  fileprivate func deviation(ofBranch k: Int, _ cell: Int) -> Double { mean[cell] - branchMeans[k][cell] }

  /// Gradient of the logits that the shares come from.
  fileprivate func logitGradient(_ shares: Shares, _ gradient: UnsafePointer<Double>, mean: Bool) -> [Double] {
    shares.pullback(
      (mean ? branchMeans : branchVariances).map { value in
        var total = 0.0
        for cell in 0..<shape.cells { total += gradient[cell] * value[cell] }
        return total
      })
  }
}
