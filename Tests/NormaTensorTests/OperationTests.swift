import Foundation
import NormaTensor
import TestSupport
import Testing

@Suite struct ArithmeticTests {
  let a = [-2.0, 0.5, 3]
  let b = [4.0, -1, 0.25]

  @Test func betweenTensors() throws {
    let (x, y) = (try Tensor(a), try Tensor(b))
    try expect(x + y, [2, -0.5, 3.25])
    try expect(x - y, [-6, 1.5, 2.75])
    try expect(x * y, [-8, -0.5, 0.75])
    try expect(x / y, [-0.5, -0.5, 12])
    try expect(-x, [2, -0.5, -3])
    try expect(Tensor.maximum(x, y), [4, 0.5, 3])
    try expect(Tensor.minimum(x, y), [-2, -1, 0.25])
  }

  @Test func withScalars() throws {
    let x = try Tensor(a)
    try expect(x + 1, [-1, 1.5, 4])
    try expect(x + 0.5, [-1.5, 1, 3.5])
    try expect(x + (2 as Float), [0, 2.5, 5])
    try expect(x - 1, [-3, -0.5, 2])
    try expect(x * 2, [-4, 1, 6])
    try expect(x / 2, [-1, 0.25, 1.5])
    try expect(1 + x, [-1, 1.5, 4])
    try expect(1 - x, [3, 0.5, -2])
    try expect(2 * x, [-4, 1, 6])
    try expect(3.0 / x, [-1.5, 6, 1])
    let whole = try Tensor([7, -7]) - 2
    #expect(whole.dtype == .int64)
    try expect(whole, [5, -9])
  }

  @Test func broadcasting() throws {
    let column = try Tensor([1.0, 2], shape: [2, 1])
    let row = try Tensor([10.0, 20, 30])
    try expect(column + row, [11, 21, 31, 12, 22, 32], shape: [2, 3])
    try expect(row - column, [9, 19, 29, 8, 18, 28], shape: [2, 3])
    try expect(column * Tensor(3.0), [3, 6], shape: [2, 1])
    try expect(
      Tensor.ones([2, 1, 3], dtype: .float64) * column, [1, 1, 1, 2, 2, 2, 1, 1, 1, 2, 2, 2],
      shape: [2, 2, 3])
    #expect(throws: TensorError.self) { try row + Tensor([1.0, 2]) }
  }

  @Test func inPlace() throws {
    let x = try Tensor([1.0, 2])
    try x.add(Tensor([10.0, 20]))
    try expect(x, [11, 22])
    try x.add(Tensor([2.0]), scale: -0.5)
    try expect(x, [10, 21])
    try x.add(scalar: 1)
    try expect(x, [11, 22])
    try x.scale(by: 2)
    try expect(x, [22, 44])
    let table = try Tensor([0.0, 0, 0, 0], shape: [2, 2])
    try table.addProduct(Tensor([1.0, 2], shape: [2, 1]), Tensor([3.0, 5]))
    try table.addProduct(Tensor([1.0]), Tensor([1.0]))
    try expect(table, [4, 6, 7, 11])
  }

  @Test func elementwiseFunctions() throws {
    let values = [0.25, 1, 2.5, 9]
    let x = try Tensor(values)
    try expect(x.reciprocal(), values.map { 1 / $0 })
    try expect(x.exp(), values.map { exp($0) })
    try expect(x.log(), values.map { log($0) })
    try expect(x.squareRoot(), values.map { $0.squareRoot() })
    try expect(x.reciprocalSquareRoot(), values.map { 1 / $0.squareRoot() })
    try expect(x.squared(), values.map { $0 * $0 })
    try expect(x.power(-1.5), values.map { pow($0, -1.5) })
    try expect(Tensor(a).abs(), a.map { abs($0) })
    try expect(Tensor(a).clamped(from: -1, to: 1), [-1, 0.5, 1])
    try expect(Tensor(a).clamped(from: 0), [0, 0.5, 3])
    try expect(Tensor(a).clamped(to: 0), [-2, 0, 0])
  }
}

@Suite struct ComparisonTests {
  private func flags(_ tensor: Tensor) throws -> [Bool] {
    #expect(tensor.dtype == .bool)
    return try tensor.array()
  }

  @Test func withScalarsAndTensors() throws {
    let x = try Tensor([1.0, 2, 3])
    #expect(try flags(x .< 2) == [true, false, false])
    #expect(try flags(x .> 2.0) == [false, false, true])
    #expect(try flags(x .<= 2) == [true, true, false])
    #expect(try flags(x .>= 2) == [false, true, true])
    #expect(try flags(x .== 2) == [false, true, false])
    #expect(try flags(x .!= 2) == [true, false, true])
    #expect(try flags(x .== Tensor([1.0, 5, 3])) == [true, false, true])
  }

  @Test func replacement() throws {
    let x = try Tensor([1.0, -2, 3])
    try expect(x.replaced(with: Tensor([10.0, 20, 30]), where: x .< 0), [1, 20, 3])
    try expect(x.replaced(with: Tensor([0.0]), where: x .> 0), [0, -2, 0])
  }

  @Test func judgements() throws {
    #expect(try Tensor([1.0, 2]).allFinite())
    #expect(try !Tensor([1.0, .nan]).allFinite())
    #expect(try !Tensor([1.0, -.infinity]).allFinite())
    #expect(try Tensor([1, 2]).all())
    #expect(try !Tensor([1, 0]).all())
    let x = try Tensor([1.0, 100])
    #expect(try x.isClose(to: Tensor([1.05, 100]), relative: 0, absolute: 0.06))
    #expect(try !x.isClose(to: Tensor([1.05, 100]), relative: 0, absolute: 0.04))
    #expect(try x.isClose(to: Tensor([1, 101.0]), relative: 0.02, absolute: 0))
    #expect(try !x.isClose(to: Tensor([1, 101.0]), relative: 0.005, absolute: 0))
    #expect(try !x.isClose(to: Tensor([1.0])), "shapes are compared, not broadcast")
  }
}

@Suite struct ActivationTests {
  @Test func againstTheirFormulas() throws {
    let v = [-30.0, -2, -0.1, 0, 0.3, 5]
    let x = try Tensor(v)
    func sigmoid(_ x: Double) -> Double { 1 / (1 + exp(-x)) }
    try expect(x.relu(), v.map { max(0, $0) })
    try expect(x.leakyReLU(slope: 0.2), v.map { $0 < 0 ? 0.2 * $0 : $0 })
    try expect(x.leakyReLU(), v.map { $0 < 0 ? 0.01 * $0 : $0 })
    try expect(x.sigmoid(), v.map(sigmoid))
    try expect(x.tanh(), v.map { tanh($0) })
    try expect(x.silu(), v.map { $0 * sigmoid($0) })
    try expect(x.gelu(), v.map { 0.5 * $0 * (1 + erf($0 / 2.0.squareRoot())) })
    try expect(x.softplus(), v.map { log1p(exp($0)) })
    let copy = try x.cloned()
    try expect(copy.reluInPlace(), v.map { max(0, $0) })
    try expect(copy, v.map { max(0, $0) })
  }

  @Test func softmaxAlongEitherDimension() throws {
    let v = [1.0, 2, 3, 1000, 1001, 998]
    let x = try Tensor(v, shape: [2, 3])
    func shares(_ v: [Double]) -> [Double] {
      let powers = v.map { exp($0 - v.max()!) }
      return powers.map { $0 / powers.reduce(0, +) }
    }
    let rows = shares(Array(v[0..<3])) + shares(Array(v[3..<6]))
    try expect(x.softmax(1), rows)
    try expect(x.logSoftmax(-1), rows.map { log($0) })
    try expect(
      Tensor([1.0, 2, 3, 5], shape: [2, 2]).softmax(0),
      [
        shares([1, 3])[0], shares([2, 5])[0], shares([1, 3])[1], shares([2, 5])[1],
      ])
  }
}

@Suite struct ReductionTests {
  let v = [1.0, -2, 3, 4, 5, -12]

  @Test func sumsMeansAndVariances() throws {
    let x = try Tensor(v, shape: [2, 3])
    try expect(x.sum(), [-1], shape: [])
    try expect(x.sum([0]), [5, 3, -9], shape: [3])
    try expect(x.sum([1], keepDimensions: true), [2, -3], shape: [2, 1])
    try expect(x.sum([0, 1]), [-1], shape: [])
    try expect(x.mean(), [-1.0 / 6], shape: [])
    try expect(x.mean([-1]), [2.0 / 3, -1], shape: [2])
    func variance(_ v: [Double], _ divisor: Double) -> Double {
      let mean = v.reduce(0, +) / Double(v.count)
      return v.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / divisor
    }
    try expect(x.variance(), [variance(v, 6)], shape: [])
    try expect(x.variance(correction: 1), [variance(v, 5)])
    try expect(
      x.variance([1], keepDimensions: true), [variance([1, -2, 3], 3), variance([4, 5, -12], 3)],
      shape: [2, 1])
    #expect(
      try Tensor([200, 100] as [UInt8]).sum().item() == 300, "whole numbers are summed without overflow")
  }

  @Test func extremes() throws {
    let x = try Tensor(v, shape: [2, 3])
    try expect(x.maximum(), [5])
    try expect(x.minimum(), [-12])
    try expect(x.maximum([0]), [4, 5, 3], shape: [3])
    try expect(x.minimum([1], keepDimensions: true), [-2, -12], shape: [2, 1])
    let place = try x.argmax(1)
    #expect(place.dtype == .int64)
    try expect(place, [2, 1], shape: [2])
    try expect(x.argmax(0, keepDimension: true), [1, 1, 0], shape: [1, 3])
  }

  @Test func logSumExpWithoutOverflow() throws {
    let x = try Tensor([1.0, 2, 1000, 1001], shape: [2, 2])
    try expect(x.logSumExp([1]), [2 + log1p(exp(-1)), 1001 + log1p(exp(-1))], shape: [2])
    try expect(
      x.logSumExp([1], keepDimensions: true), [2 + log1p(exp(-1)), 1001 + log1p(exp(-1))], shape: [2, 1])
  }
}

@Suite struct ShapeTests {
  let x: Tensor
  init() throws { x = try Tensor((0..<6).map(Double.init), shape: [2, 3]) }

  @Test func sameElementsInAnotherShape() throws {
    try expect(x.reshaped([3, -1]), [0, 1, 2, 3, 4, 5], shape: [3, 2])
    try expect(x.transposed(0, 1).reshaped([6]), [0, 3, 1, 4, 2, 5], shape: [6])
    try expect(x.reshapedAsFresh([6]), [0, 1, 2, 3, 4, 5], shape: [6])
    try expect(x.flattened(), [0, 1, 2, 3, 4, 5], shape: [6])
    #expect(try Tensor.zeros([2, 3, 4, 5]).flattened(from: 1, to: 2).shape == [2, 12, 5])
    try expect(x.unsqueezed(1), [0, 1, 2, 3, 4, 5], shape: [2, 1, 3])
    try expect(x.unsqueezed(-1).squeezed(2), [0, 1, 2, 3, 4, 5], shape: [2, 3])
    #expect(try x.squeezed(0).shape == [2, 3], "only extents of 1 go")
    #expect(throws: TensorError.self) { try x.reshaped([4]) }
  }

  @Test func orderAndRepetition() throws {
    try expect(x.transposed(0, -1), [0, 3, 1, 4, 2, 5], shape: [3, 2])
    let cube = try Tensor((0..<8).map(Double.init), shape: [2, 2, 2])
    try expect(cube.permuted([2, 0, 1]), [0, 2, 4, 6, 1, 3, 5, 7])
    try expect(Tensor([1.0, 2], shape: [2, 1]).expanded([-1, 3]), [1, 1, 1, 2, 2, 2], shape: [2, 3])
    try expect(x.flipped([1]), [2, 1, 0, 5, 4, 3])
    try expect(x.flipped([0, 1]), [5, 4, 3, 2, 1, 0])
  }

  @Test func joiningAndParting() throws {
    try expect(
      Tensor.concatenate([x, Tensor([9.0, 8], shape: [2, 1])], dimension: 1), [0, 1, 2, 9, 3, 4, 5, 8])
    try expect(Tensor.stack([Tensor([1.0, 2]), Tensor([3.0, 4])]), [1, 2, 3, 4], shape: [2, 2])
    try expect(Tensor.stack([Tensor([1.0, 2]), Tensor([3.0, 4])], dimension: 1), [1, 3, 2, 4])
    let parts = try x.split([1, 2], dimension: 1)
    #expect(parts.count == 2)
    try expect(parts[0], [0, 3], shape: [2, 1])
    try expect(parts[1], [1, 2, 4, 5], shape: [2, 2])
  }

  @Test func padding() throws {
    try expect(x.padded([1, 0, 0, 1], value: 7), [7, 0, 1, 2, 7, 3, 4, 5, 7, 7, 7, 7], shape: [3, 4])
    try expect(x.padded([0, 1]), [0, 1, 2, 0, 3, 4, 5, 0])
    let image = try x.reshaped([1, 1, 2, 3])
    // Left 2, right 1, below 1: 2 1 [0 1 2] 1.
    try expect(
      image.paddedByReflection([2, 1, 0, 1]), [2, 1, 0, 1, 2, 1, 5, 4, 3, 4, 5, 4, 2, 1, 0, 1, 2, 1],
      shape: [1, 1, 3, 6])
    #expect(throws: TensorError.self) { try image.paddedByReflection([3, 0, 0, 0]) }
  }

  @Test func indexing() throws {
    try expect(x.selected(1), [3, 4, 5], shape: [3])
    try expect(x.selected(-1, dimension: 1), [2, 5], shape: [2])
    try expect(x.sliced(1..<3, dimension: 1), [1, 2, 4, 5], shape: [2, 2])
    try expect(Tensor.range(7).sliced(1..<7, step: 2), [1, 3, 5])
    #expect(try x.sliced(1..<1).shape == [0, 3])
    try expect(x.gatheredRows(Tensor([1, 1, 0])), [3, 4, 5, 3, 4, 5, 0, 1, 2], shape: [3, 3])
    try expect(x.gatheredRows(Tensor([2, 0]), dimension: 1), [2, 0, 5, 3])
    try expect(x.gathered(Tensor([1, 0, 1], shape: [1, 3]), dimension: 0), [3, 1, 5], shape: [1, 3])
    #expect(throws: TensorError.self) { try x.gatheredRows(Tensor([2])) }
    // Slices share the storage.
    try x.selected(0).fill(-1)
    try expect(x, [-1, -1, -1, 3, 4, 5])
  }
}

@Suite struct ProductTests {
  @Test func matrices() throws {
    let a = try Tensor([1.0, 2, 3, 4, 5, 6], shape: [2, 3])
    let b = try Tensor([1.0, 0, 2, 1, -1, 3], shape: [3, 2])
    try expect(a.matmul(b), [2, 11, 8, 23], shape: [2, 2])
    try expect(a.matmul(Tensor([1.0, 1, 1])), [6, 15], shape: [2])
    let batch = try Tensor.stack([b, b * 2])
    try expect(a.matmul(batch), [2, 11, 8, 23, 4, 22, 16, 46], shape: [2, 2, 2])
    try expect(
      a.linear(weight: Tensor([1.0, 0, -1], shape: [1, 3]), bias: Tensor([10.0])), [8, 8], shape: [2, 1])
    try expect(a.linear(weight: Tensor([1.0, 0, -1], shape: [1, 3])), [-2, -2])
    try expect(b.embedded(Tensor([2, 0], shape: [2, 1])), [-1, 3, 1, 0], shape: [2, 1, 2])
    #expect(throws: TensorError.self) { try a.matmul(a) }
  }

  @Test func convolutionWithOutputPadding() throws {
    var random = TestRandom(1)
    let x = NDArray.random([1, 4, 3], &random)
    let w = NDArray.random([4, 2, 2], &random)
    // Output padding adds a place at the end that the last input does not reach.
    let geometry = ConvolutionGeometry(stride: [3], before: [0], after: [-1], dilation: [2], groups: 2)
    let expected = x.transposeConvolved(w, bias: [1, 2, 3, 4], geometry)
    let y = try Tensor(x).convolution(
      weight: Tensor(w), bias: Tensor([1.0, 2, 3, 4]), stride: [3], padding: [0], dilation: [2],
      transposed: true,
      outputPadding: [1], groups: 2)
    try expect(y, expected.values, shape: expected.shape)
  }
}

@Suite struct PoolingTests {
  @Test(arguments: [1, 2, 3]) func windows(dimensions: Int) throws {
    var random = TestRandom(UInt64(dimensions))
    let x = NDArray.random([2, 2] + [5, 4, 3].prefix(dimensions), &random)
    let kernel = Array([3, 2, 2].prefix(dimensions))
    for (stride, padding) in [
      (kernel, kernel.map { _ in 0 }), (kernel.map { _ in 2 }, kernel.map { _ in 1 }),
    ] {
      let largest = x.pooled(kernel: kernel, stride: stride, padding: padding, outside: nil) { $0.max()! }
      let mean = x.pooled(kernel: kernel, stride: stride, padding: padding, outside: 0) {
        $0.reduce(0, +) / Double($0.count)
      }
      let t = try Tensor(x)
      try expect(
        t.maxPooled(kernel: kernel, stride: stride, padding: padding), largest.values, shape: largest.shape)
      try expect(
        t.averagePooled(kernel: kernel, stride: stride, padding: padding), mean.values, shape: mean.shape)
      if stride == kernel {
        try expect(t.maxPooled(kernel: kernel), largest.values)
        try expect(t.averagePooled(kernel: kernel), mean.values)
      }
    }
  }

  @Test(arguments: [1, 2, 3]) func nearestUpsampling(dimensions: Int) throws {
    var random = TestRandom(4)
    let x = NDArray.random([1, 2] + [3, 2, 2].prefix(dimensions), &random)
    var y = NDArray(shape: [1, 2] + x.shape.dropFirst(2).map { 3 * $0 })
    for index in NDArray.indices(of: y.shape) {
      y[index] = x[Array(index.prefix(2)) + index.dropFirst(2).map { $0 / 3 }]
    }
    try expect(Tensor(x).upsampledNearest(factor: 3), y.values, shape: y.shape)
  }

  /// Linear interpolation between pixel centres, one dimension after the other.
  @Test(arguments: [1, 2, 3]) func linearUpsampling(dimensions: Int) throws {
    var random = TestRandom(5)
    let x = NDArray.random([1, 2] + [3, 2, 2].prefix(dimensions), &random)
    let target = Array([7, 3, 5].prefix(dimensions))
    var y = x
    for d in 0..<dimensions {
      var shape = y.shape
      shape[d + 2] = target[d]
      var z = NDArray(shape: shape)
      for index in NDArray.indices(of: shape) {
        let extent = y.shape[d + 2]
        let place = max(0, (Double(index[d + 2]) + 0.5) * Double(extent) / Double(target[d]) - 0.5)
        let left = min(Int(place), extent - 1)
        var (a, b) = (index, index)
        a[d + 2] = left
        b[d + 2] = min(left + 1, extent - 1)
        z[index] = y[a] + (place - Double(left)) * (y[b] - y[a])
      }
      y = z
    }
    try expect(Tensor(x).upsampledLinear(to: target), y.values, shape: y.shape, tolerance: 1e-13)
  }

  @Test(arguments: [1, 2, 3]) func adaptiveAverage(dimensions: Int) throws {
    var random = TestRandom(6)
    let x = NDArray.random([1, 2] + [5, 4, 3].prefix(dimensions), &random)
    let target = Array([2, 3, 1].prefix(dimensions))
    var y = NDArray(shape: [1, 2] + target)
    for index in NDArray.indices(of: y.shape) {
      // Output o covers floor(o n / m) ..< ceil((o + 1) n / m).
      let windows = (0..<dimensions).map { d in
        let (n, m, o) = (x.shape[d + 2], target[d], index[d + 2])
        return Array((o * n / m)..<(((o + 1) * n + m - 1) / m))
      }
      let places = NDArray.indices(of: windows.map(\.count)).map { k in k.indices.map { windows[$0][k[$0]] } }
      y[index] = places.reduce(0) { $0 + x[Array(index.prefix(2)) + $1] } / Double(places.count)
    }
    try expect(Tensor(x).adaptiveAveragePooled(target), y.values, shape: y.shape)
  }
}

@Suite struct LossOperationTests {
  @Test func binaryCrossEntropy() throws {
    let (x, t, w) = ([-200.0, -1, 0.5, 3], [0.0, 1, 0.25, 1], [1.0, 2, 3, 0.5])
    func losses(positive: Double = 1) -> [Double] {
      zip(x, t).map { x, t in
        // −p t log σ(x) − (1 − t) log(1 − σ(x)), with log σ(x) = −log(1 + e^−x).
        positive * t * (x > -100 ? log1p(exp(-x)) : -x) + (1 - t) * log1p(exp(x))
      }
    }
    let (logits, target) = (try Tensor(x), try Tensor(t))
    try expect(logits.binaryCrossEntropy(target: target, reduction: .none), losses())
    try expect(logits.binaryCrossEntropy(target: target), [losses().reduce(0, +) / 4], shape: [])
    try expect(logits.binaryCrossEntropy(target: target, reduction: .sum), [losses().reduce(0, +)])
    let weighted = zip(losses(positive: 3), w).map { $0 * $1 }
    try expect(
      logits.binaryCrossEntropy(
        target: target, weight: Tensor(w), positiveWeight: Tensor([3.0]), reduction: .none), weighted)
  }

  @Test func crossEntropy() throws {
    // [N, K, positions] = [1, 3, 4]; the third position is left out.
    let x = [1.0, -2, 0, 4, 0.5, 3, 1, -1, 2, 0, -3, 1]
    let labels = [2, 0, 9, 1]
    let weights = [1.0, 2, 5]
    let places = [0, 1, 3]
    let losses = places.map { (p: Int) -> Double in
      let column = [x[p], x[4 + p], x[8 + p]]
      return log(column.reduce(0) { $0 + exp($1) }) - column[labels[p]]
    }
    let logits = try Tensor(x, shape: [1, 3, 4])
    let target = try Tensor(labels, shape: [1, 4])
    try expect(logits.crossEntropy(target: target, ignore: 9), [losses.reduce(0, +) / 3])
    try expect(
      logits.crossEntropy(target: target, ignore: 9, reduction: .none), [losses[0], losses[1], 0, losses[2]],
      shape: [1, 4])
    let w = places.map { weights[labels[$0]] }
    try expect(
      logits.crossEntropy(target: target, classWeights: Tensor(weights), ignore: 9),
      [dot(w, losses) / w.reduce(0, +)])
    #expect(throws: TensorError.self) { try logits.crossEntropy(target: target) }
  }

  @Test func distances() throws {
    let (x, t) = (try Tensor([1.0, -2, 4]), try Tensor([0.0, 1, 2]))
    try expect(x.meanSquaredError(target: t), [14.0 / 3])
    try expect(x.meanSquaredError(target: t, reduction: .sum), [14])
    try expect(x.meanAbsoluteError(target: t), [2])
    try expect(x.meanAbsoluteError(target: t, reduction: .none), [1, 3, 2])
  }
}

@Suite struct BatchStatisticsTests {
  @Test(arguments: [false, true]) func perChannel(channelsLast: Bool) throws {
    var random = TestRandom(8)
    let x = NDArray.random([2, 3, 2, 2], &random)
    let g = NDArray.random([2, 3, 2, 2], &random)
    let (scale, center, shift) = (random.numbers(3), random.numbers(3), random.numbers(3))
    func tensor(_ array: NDArray) throws -> Tensor {
      try Tensor(array).contiguous(channelsLast ? .channelsLast : .contiguous)
    }
    func sums(_ value: ([Int]) -> Double) -> [Double] {
      var sums = [0.0, 0, 0]
      for index in NDArray.indices(of: x.shape) { sums[index[1]] += value(index) }
      return sums
    }
    let mean = sums { x[$0] }.map { $0 / 8 }
    let moments = try tensor(x).channelMoments()
    try expect(moments.mean, mean)
    try expect(moments.variance, sums { (x[$0] - mean[$0[1]]) * (x[$0] - mean[$0[1]]) }.map { $0 / 8 })
    let y = try tensor(x).channelScaleShift(
      scale: Tensor(scale), center: Tensor(center), shift: Tensor(shift))
    try expect(
      y, NDArray.indices(of: x.shape).map { scale[$0[1]] * (x[$0] - center[$0[1]]) + shift[$0[1]] },
      tolerance: 1e-13)
    let products = try tensor(g).channelProductSums(with: tensor(x), center: Tensor(center))
    try expect(products.products, sums { g[$0] * (x[$0] - center[$0[1]]) }, tolerance: 1e-13)
    try expect(products.sums, sums { g[$0] })
  }

  @Test func lowPrecisionAccumulatesInFloat32() throws {
    let x = try Tensor([1.0, 2, 3, 4], shape: [1, 1, 2, 2]).to(dtype: .bfloat16)
    let moments = try x.channelMoments()
    #expect(moments.mean.dtype == .float32 && moments.variance.dtype == .float32)
    try expect(moments.mean, [2.5])
    try expect(moments.variance, [1.25])
  }
}

@Suite struct FusedStepTests {
  /// First steps from zero state, by hand: Adam moves by the learning rate along the gradient's sign.
  @Test func firstSteps() throws {
    func fresh() throws -> (p: Tensor, g: Tensor, m: Tensor, v: Tensor, step: Tensor) {
      (
        try Tensor([1.0, -2]), try Tensor([0.5, -4.0]), try Tensor([0.0, 0]), try Tensor([0.0, 0]),
        try Tensor(1 as Float)
      )
    }
    let adam = try fresh()
    try FusedStep.adam(
      parameters: [adam.p], gradients: [adam.g], firstMoments: [adam.m], secondMoments: [adam.v],
      steps: [adam.step], learningRate: 0.1, beta1: 0.9, beta2: 0.99, weightDecay: 0, epsilon: 0,
      decoupled: false)
    try expect(adam.p, [0.9, -1.9], tolerance: 1e-12)
    try expect(adam.m, [0.05, -0.4], tolerance: 1e-12)
    try expect(adam.v, [0.0025, 0.16], tolerance: 1e-12)
    let decoupled = try fresh()
    try FusedStep.adam(
      parameters: [decoupled.p], gradients: [decoupled.g], firstMoments: [decoupled.m],
      secondMoments: [decoupled.v], steps: [decoupled.step], learningRate: 0.1, beta1: 0.9, beta2: 0.99,
      weightDecay: 0.5, epsilon: 0, decoupled: true)
    try expect(decoupled.p, [0.95 - 0.1, -1.9 + 0.1], tolerance: 1e-12)
    let sgd = try fresh()
    try FusedStep.sgd(
      parameters: [sgd.p], gradients: [sgd.g], momentumBuffers: [sgd.m], learningRate: 0.1, momentum: 0.9,
      weightDecay: 0, nesterov: true, isFirstStep: true)
    try expect(sgd.p, [1 - 0.1 * 1.9 * 0.5, -2 + 0.1 * 1.9 * 4], tolerance: 1e-12)
    let adagrad = try fresh()
    try FusedStep.adagrad(
      parameters: [adagrad.p], gradients: [adagrad.g], sums: [adagrad.m], steps: [adagrad.step],
      learningRate: 0.1, weightDecay: 0, epsilon: 0)
    try expect(adagrad.p, [0.9, -1.9], tolerance: 1e-12)
    try expect(adagrad.m, [0.25, 16], tolerance: 1e-12)
  }
}
