import NormaNN
import NormaTensor

extension Tensor {
  /// Mean and biased variance of the parts of every partition, as differentiable tables [N, C] in the accumulation type of
  /// this tensor, which is [N, C, spatial…].
  ///
  /// For layers that do more with statistics than ``MomentNormalization`` does. One pass over the data forward, one
  /// backward, for all partitions together.
  package func pooledMoments(_ partitions: [Partition]) throws -> [(mean: Tensor, variance: Tensor)] {
    try countedMoments(partitions).moments
  }

  /// ``pooledMoments(_:)``, and of how many values per channel those over all processes are; nil where none are.
  func countedMoments(
    _ partitions: [Partition]
  ) throws -> (moments: [(mean: Tensor, variance: Tensor)], synchronizedValues: Int?) {
    var values: Double?
    let tables = try OperatorTrace.asOneCall(
      TracedMoments.name, [.tensor(self)], detail: TracedMoments(partitions: partitions)
    ) { try momentTables(partitions, &values) }
    return (partitions.indices.map { (mean: tables[2 * $0], variance: tables[2 * $0 + 1]) }, values.map { Int($0) })
  }

  /// Mean and variance of every partition in turn.
  private func momentTables(_ partitions: [Partition], _ values: inout Double?) throws -> [Tensor] {
    let kernels = try MomentNormalization.kernels(for: self)
    let branches = partitions.map { Branch.pooled($0) }
    let given = try ImageMoments.current?.moments(entering: self)
    let shape = given.map(MomentShape.init) ?? MomentShape(self)
    let mix = MomentMix(
      shape: shape,
      MixRecipe(
        branches: branches, meanShares: Shares(values: branches.map { _ in 0 }) { $0 },
        varianceShares: Shares(values: branches.map { _ in 0 }) { $0 }, epsilon: 1,
        synchronization: Synchronization(branches, origin: nil), roundsToFloat: dtype != .float64))
    let type = dtype.accumulation
    func results() throws -> [Tensor] {
      try branches.indices.flatMap { k in
        try [mix.table(ofMeans: k), mix.table(ofVariances: k)].map {
          try Tensor($0, shape: [shape.samples, shape.channels]).to(dtype: type).to(device: self.device)
        }
      }
    }
    if let given {
      mix.take(given)
      return try results()
    }
    return try CustomFunction.apply("pooled moments", inputs: [self], isTwiceDifferentiable: false) {
      try kernels.moments(of: self, into: mix)
      mix.solve(shape.whole)
      if let failure = mix.failure { throw failure }
      values = mix.synchronizedValues
      return (
        outputs: try results(), saved: [self],
        backward: { pass in
          let gradients: [[Double]?] = try pass.gradients.map { try $0?.array() }
          let solution = MomentMix(shape: shape, mix.recipe)
          try mix.differentiate(gradients, into: solution)
          return [try kernels.replay(pass.saved[0], solution, .none)]
        }
      )
    }
  }

  /// [C] as something that multiplies [N, C, spatial…], in the latter's type.
  func perChannel(of input: Tensor) throws -> Tensor {
    try to(dtype: input.dtype).reshaped([1, shape[0]] + input.shape.dropFirst(2).map { _ in 1 })
  }

  /// A copy that nothing else changes, outside of any record.
  func snapshot() throws -> Tensor { try withoutGradients { try detached().cloned() } }
}

extension MomentMix {
  fileprivate func table(ofMeans k: Int) -> [Double] { Array(UnsafeBufferPointer(start: means(k), count: shape.cells)) }

  fileprivate func table(ofVariances k: Int) -> [Double] {
    Array(UnsafeBufferPointer(start: variances(k), count: shape.cells))
  }

  /// dx = dm / M + 2 dv / M (x − m) with dm = Σ P_k(dμ_k) + 2 (m − μ_k) P_k(dσ²_k), dv = Σ P_k(dσ²_k), as the scale and
  /// shift of another mix.
  /// - Parameter gradients: of means and variances in turn, one pair per branch.
  fileprivate func differentiate(_ gradients: [[Double]?], into solution: MomentMix) throws {
    let perPosition = 1 / Double(shape.positions)
    let tables = MomentTables(4, shape)
    let (pooledMeans, pooledVariances) = (tables[0], tables[1])
    defer { withExtendedLifetime(tables) {} }
    for cell in 0..<shape.cells {
      solution.scale[cell] = 0
      solution.shift[cell] = 0
      solution.center[cell] = mean[cell]
    }
    for (k, branch) in branches.enumerated() {
      guard let partition = branch.partition else { continue }
      for (table, gradient) in [(tables[2], gradients[2 * k]), (tables[3], gradients[2 * k + 1])] {
        if let gradient {
          table.update(from: gradient, count: shape.cells)
        } else {
          table.update(repeating: 0, count: shape.cells)
        }
      }
      try pool(partition, tables[2], tables[3], into: pooledMeans, pooledVariances, shape.whole)
      for cell in 0..<shape.cells {
        solution.shift[cell] += pooledMeans[cell] * perPosition
        solution.scale[cell] += 2 * pooledVariances[cell] * perPosition
        solution.shift[cell] += 2 * (mean[cell] - means(k)[cell]) * pooledVariances[cell] * perPosition
      }
    }
    // The kernels hold the center in the arithmetic's type.
    if recipe.roundsToFloat {
      for cell in 0..<shape.cells {
        let rounded = Double(Float(mean[cell]))
        solution.shift[cell] += solution.scale[cell] * (rounded - mean[cell])
        solution.center[cell] = rounded
      }
    }
  }
}
