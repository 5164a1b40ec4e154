import NormaTensor

/// Sums gradients over the processes of a group while the backward pass still computes others.
///
/// Gradients are gathered in buckets in the order in which backward passes usually make them, from the last parameter to the first; a full
/// bucket is on its way at once. Buckets stay as they are for good, unlike those of libtorch's own reducer, so that a training
/// that goes on from a checkpoint adds the same numbers in the same order.
///
/// Li et al. 2020, "PyTorch Distributed: Experiences on Accelerating Data Parallel Training", section 3.2.
public final class GradientReducer {
  private let group: ProcessGroup
  private let parameters: [Tensor]
  private var buckets: [Bucket] = []
  /// Of every parameter, its bucket and its place there.
  private var places: [(bucket: Int, place: Int)] = []
  private var isExpecting = false
  /// Buckets that are on their way; they go in order, so that all processes agree on it.
  private var begun: [ProcessGroup.Pending] = []

  private struct Bucket {
    /// The parameters' gradients, then for each of them how many processes have one.
    let values: Tensor
    let members: [Int]
    /// Parts of the values, laid out as the parameters.
    let gradients: [Tensor]
    let marks: [Tensor]
    var isFilled: [Bool]
  }

  /// - Parameters:
  ///   - parameters: leaves; the same in all processes.
  ///   - bucketBytes: of a bucket; a single parameter may be larger.
  ///   - firstBucketBytes: of the first one, smaller, so that the way is in use early.
  public init(
    _ parameters: [Tensor], group: ProcessGroup, bucketBytes: Int = 25 << 20, firstBucketBytes: Int = 1 << 20
  ) throws {
    self.group = group
    self.parameters = parameters
    places = parameters.map { _ in (0, 0) }
    var members: [Int] = []
    func close() throws {
      guard let first = members.first else { return }
      let count = members.reduce(0) { $0 + parameters[$1].count }
      let values = try Tensor.zeros(
        [count + members.count], dtype: parameters[first].dtype, device: parameters[first].device)
      var (gradients, marks): ([Tensor], [Tensor]) = ([], [])
      var start = 0
      for (place, index) in members.enumerated() {
        places[index] = (buckets.count, place)
        let parameter = parameters[index]
        gradients.append(
          try values.strided(parameter.shape, parameter.contiguous(parameter.denseFormat).strides, from: start))
        marks.append(try values.sliced(count + place..<count + place + 1))
        start += parameter.count
      }
      buckets.append(
        Bucket(
          values: values, members: members, gradients: gradients, marks: marks,
          isFilled: members.map { _ in false }))
      members = []
    }
    var bytes = 0
    for index in parameters.indices.reversed() {
      let parameter = parameters[index]
      let own = parameter.count * parameter.dtype.size
      let fits = bytes + own <= (buckets.isEmpty ? firstBucketBytes : bucketBytes)
      let isAlike = members.first.map { parameters[$0].dtype == parameter.dtype } ?? true
      if !members.isEmpty, !fits || !isAlike {
        try close()
        bytes = 0
      }
      members.append(index)
      bytes += own
    }
    try close()
    for (index, parameter) in parameters.enumerated() {
      try parameter.onGradient { [weak self] in try self?.take(index) }
    }
  }

  deinit { for parameter in parameters { try? parameter.onGradient(nil) } }

  /// The next backward pass makes the gradients that are to be summed. Passes before it may have accumulated.
  public func expect() throws {
    isExpecting = true
    for index in buckets.indices {
      for place in buckets[index].isFilled.indices { buckets[index].isFilled[place] = false }
    }
    begun = []
  }

  private func take(_ index: Int) throws {
    guard isExpecting, let gradient = parameters[index].gradient else { return }
    let (bucket, place) = places[index]
    try withoutGradients {
      try buckets[bucket].gradients[place].copy(from: gradient)
      try buckets[bucket].marks[place].fill(1)
    }
    buckets[bucket].isFilled[place] = true
    while begun.count < buckets.count, buckets[begun.count].isFilled.allSatisfy({ $0 }) { try beginNext() }
  }

  private func beginNext() throws { begun.append(try group.beginSum(buckets[begun.count].values, on: .gradients)) }

  /// Waits for the sums, which are the parameters' gradients then. A parameter that no process has a gradient for has none.
  /// - Throws: ``WorkerError``.
  public func finish() throws {
    isExpecting = false
    while begun.count < buckets.count {
      let bucket = buckets[begun.count]
      for (place, index) in bucket.members.enumerated() where !bucket.isFilled[place] {
        // Accumulated by earlier passes, perhaps, though the last one did not reach it.
        let gradient = parameters[index].gradient
        if let gradient {
          try bucket.gradients[place].copy(from: gradient)
        } else {
          try bucket.gradients[place].fill(0)
        }
        try bucket.marks[place].fill(gradient == nil ? 0 : 1)
      }
      try beginNext()
    }
    for (pending, bucket) in zip(begun, buckets) {
      try pending.wait()
      let count = bucket.members.count
      let marks: [Double] = try bucket.values.sliced(bucket.values.count - count..<bucket.values.count).array()
      for (place, index) in bucket.members.enumerated() {
        try parameters[index].setGradient(marks[place] > 0 ? bucket.gradients[place] : nil)
      }
    }
    begun = []
  }

  public var bucketCount: Int { buckets.count }
}
