import NormaFormats
import NormaNormalization
import NormaTensor

/// Norms over pooled moments: ONNX's own operators where there are any, else the formulas of the family on its tables of moments.
extension ONNXTranslator {
  func normalization(_ call: ONNXCall) throws -> String {
    let norm = call.first.detail as! TracedNormalization
    let input = try call.tensor(0)
    // A vector is a plane of one value, which not every operator takes without a dimension of its own.
    let isFlat = input.rank == 2
    let x = isFlat ? emit("Unsqueeze", [try call.value(0), try ints([2])]) : try call.value(0)
    let data = NormalizedData(name: x, rank: isFlat ? 3 : input.rank, channels: input.shape[1], dtype: input.dtype)
    guard [.float32, .float64].contains(input.dtype) else {
      throw ONNXExportError("a normalization of \(input.dtype) data; convert the network to float32 first")
    }
    let y = try standard(norm, call, data) ?? composed(norm, call, data)
    return isFlat ? emit("Squeeze", [y, try ints([2])]) : y
  }

  /// Mean and variance [N, C] of every partition in turn.
  func pooledMoments(_ call: ONNXCall) throws -> [String] {
    let input = try call.tensor(0)
    let data = NormalizedData(
      name: try call.value(0), rank: input.rank, channels: input.shape[1], dtype: call.result.dtype)
    let planes = try moments(of: data)
    let shape = emit("Shape", [planes.mean])
    return try (call.first.detail as! TracedMoments).partitions.flatMap { partition in
      let found = try pooled(planes, partition, data)
      return try [found.mean, found.variance].map {
        emit("Squeeze", [emit("Expand", [$0, shape]), try ints(data.spatial)])
      }
    }
  }

  private struct NormalizedData {
    let name: String
    let rank: Int
    let channels: Int
    let dtype: DType
    var spatial: [Int] { Array(2..<rank) }
  }

  /// As one of ONNX's operators, or nil where it has none.
  private func standard(_ norm: TracedNormalization, _ call: ONNXCall, _ data: NormalizedData) throws -> String? {
    guard norm.branches.count == 1, !norm.hasUnbiasedPlanes,
      try (1...2).allSatisfy({ try !call.isTensor($0) || call.tensor($0).rank == 1 })
    else { return nil }
    func parameter(_ index: Int, _ fallback: Double) throws -> String {
      try call.isTensor(index)
        ? call.value(index, as: data.dtype) : vector(fallback, data.channels, data.dtype)
    }
    func node(_ type: String, _ more: [String] = [], groups: Int? = nil) throws -> String {
      var attributes: [(String, ONNX.Attribute)] = [("epsilon", .float(norm.epsilon))]
      if let groups { attributes.append(("num_groups", .int(groups))) }
      return emit(type, [data.name, try parameter(1, 1), try parameter(2, 0)] + more, attributes)
    }
    switch norm.branches[0] {
    case .fixed(let mean, let variance):
      return try node(
        "BatchNormalization",
        [
          mean.map { try value(of: $0, as: data.dtype) } ?? vector(0, data.channels, data.dtype),
          value(of: variance, as: data.dtype),
        ])
    case .pooled(.instance): return try node("InstanceNormalization")
    case .pooled(.group(let groups)): return try node("GroupNormalization", groups: groups)
    case .pooled(.layer): return try node("GroupNormalization", groups: 1)
    default: return nil
    }
  }

  /// y = (x − Σ w_k μ_k) · γ / √(Σ λ_k σ²_k + ε) + β.
  private func composed(_ norm: TracedNormalization, _ call: ONNXCall, _ data: NormalizedData) throws -> String {
    let planes = try moments(of: data, unbiased: norm.hasUnbiasedPlanes)
    let shares = try shares(norm.mix, data.dtype)
    var (means, variances): ([String], [String]) = ([], [])
    for (k, branch) in norm.branches.enumerated() {
      let mean: String?
      let variance: String
      switch branch {
      case .pooled(let partition): (mean, variance) = try pooled(planes, partition, data)
      case .uncentred(let partition):
        let energy = emit("Add", [planes.variance, emit("Mul", [planes.mean, planes.mean])])
        (mean, variance) = (nil, try pool(energy, partition, data))
      case .fixed(let fixedMean, let fixedVariance):
        mean = try fixedMean.map { try perChannel($0, data) }
        variance = try perChannel(fixedVariance, data)
      }
      if let mean, let share = try shares.mean(k) { means.append(share.isEmpty ? mean : emit("Mul", [mean, share])) }
      if let share = try shares.variance(k) {
        variances.append(share.isEmpty ? variance : emit("Mul", [variance, share]))
      }
    }
    func sum(_ terms: [String]) -> String { terms.dropFirst().reduce(terms[0]) { emit("Add", [$0, $1]) } }
    let deviation = emit("Sqrt", [emit("Add", [sum(variances), try scalar(norm.epsilon, data.dtype)])])
    let scale =
      call.isTensor(1)
      ? emit("Div", [try perChannel(call.tensor(1), data), deviation]) : emit("Reciprocal", [deviation])
    let centred = means.isEmpty ? data.name : emit("Sub", [data.name, sum(means)])
    let scaled = emit("Mul", [centred, scale])
    return call.isTensor(2) ? emit("Add", [scaled, try perChannel(call.tensor(2), data)]) : scaled
  }

  /// The factor of branch k in a mean and in a variance: nil for none of it, empty for all of it.
  private func shares(
    _ mix: TracedNormalization.Mix, _ dtype: DType
  ) throws -> (mean: (Int) throws -> String?, variance: (Int) throws -> String?) {
    switch mix {
    case .shares(let mean, let variance):
      func factor(_ share: Double) throws -> String? { share == 0 ? nil : share == 1 ? "" : try scalar(share, dtype) }
      return ({ try factor(mean[$0]) }, { try factor(variance[$0]) })
    case .softmax(let mean, let variance, let temperature):
      func softmax(_ logits: Tensor) throws -> String {
        let logits = try value(of: logits, as: dtype)
        return emit("Softmax", [temperature == 1 ? logits : emit("Div", [logits, try scalar(temperature, dtype)])])
      }
      let (means, variances) = (try softmax(mean), try softmax(variance))
      return (
        { [self] in emit("Gather", [means, try ints([$0])]) },
        { [self] in emit("Gather", [variances, try ints([$0])]) }
      )
    }
  }

  /// Mean and variance of every plane: [N, C, 1…].
  private func moments(of data: NormalizedData, unbiased: Bool = false) throws -> (mean: String, variance: String) {
    let axes = try ints(data.spatial)
    let mean = emit("ReduceMean", [data.name, axes])
    let deviation = emit("Sub", [data.name, mean])
    let variance = emit("ReduceMean", [emit("Mul", [deviation, deviation]), axes])
    guard unbiased else { return (mean, variance) }
    let count = cast(emit("ReduceProd", [emit("Shape", [data.name], [("start", .int(2))])]), data.dtype)
    let factor = emit("Div", [count, emit("Sub", [count, try scalar(1, data.dtype)])])
    return (mean, emit("Mul", [variance, factor]))
  }

  /// Mean and variance of the partition's parts, in a shape that broadcasts to [N, C, 1…].
  private func pooled(
    _ planes: (mean: String, variance: String), _ partition: Partition, _ data: NormalizedData
  ) throws -> (mean: String, variance: String) {
    if partition == .instance { return planes }
    let mean = try pool(planes.mean, partition, data)
    let difference = emit("Sub", [planes.mean, mean])
    // The law of total variance.
    let within = emit("Add", [planes.variance, emit("Mul", [difference, difference])])
    return (mean, try pool(within, partition, data))
  }

  /// The average over every part of a partition, of a table [N, C, 1…].
  private func pool(_ table: String, _ partition: Partition, _ data: NormalizedData) throws -> String {
    switch partition {
    case .instance: return table
    case .batch, .synchronized: return emit("ReduceMean", [table, try ints([0])])
    case .layer: return emit("ReduceMean", [table, try ints([1])])
    case .group(let groups):
      let parts = emit("Reshape", [table, try ints([0, groups, -1])])
      let means = emit("ReduceMean", [parts, try ints([2])])
      let spread = emit("Expand", [means, try ints([1, 1, data.channels / groups])])
      return emit("Reshape", [spread, try ints([0, data.channels] + data.spatial.map { _ in 1 })])
    case .ghost:
      throw ONNXExportError(
        "ghost batches without running statistics depend on the order of the samples; train with running statistics")
    }
  }

  /// [C] or [N, C] so that it broadcasts to [N, C, spatial…].
  private func perChannel(_ tensor: Tensor, _ data: NormalizedData) throws -> String {
    let axes = tensor.rank == 1 ? Array(1..<data.rank - 1) : data.spatial
    return emit("Unsqueeze", [try value(of: tensor, as: data.dtype), try ints(axes)])
  }
}
