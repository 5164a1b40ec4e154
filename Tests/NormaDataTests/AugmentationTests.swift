import Testing

@testable import NormaData

@Suite struct AugmentationTests {
  private func draws(_ augmentation: Augmentation, side: Int = 400, count: Int = 300) -> [SampleTransform] {
    (0..<count).map { index in
      var random = RandomSource(seed: 1).derive(stream: UInt64(index))
      return augmentation.draw(side: side, using: &random)
    }
  }

  @Test func noneChangesNothing() {
    for transform in draws(.none, count: 20) {
      #expect(transform.isExact && transform.grey.isIdentity && transform.symmetry == .identity)
    }
  }

  @Test func flipsAreExactAndUseAllSymmetries() {
    let transforms = draws(.flips)
    #expect(transforms.allSatisfy { $0.isExact && $0.grey.isIdentity })
    for symmetry in Symmetry.all {
      #expect(transforms.count { $0.symmetry == symmetry } > 15)
    }
  }

  @Test func fullStaysWithinItsRangesAndFillsThem() {
    let transforms = draws(.full)
    func check(_ values: [Float], _ range: ClosedRange<Float>) {
      let extent = range.upperBound - range.lowerBound
      #expect(values.allSatisfy { $0 >= range.lowerBound - 1e-4 && $0 <= range.upperBound + 1e-4 })
      #expect(values.min()! < range.lowerBound + extent / 10)
      #expect(values.max()! > range.upperBound - extent / 10)
    }
    check(transforms.map(\.shift.x), -40...40)
    check(transforms.map(\.shift.y), -40...40)
    // The determinant of scale·rotation·shear is scale²; the first column has length scale.
    let scales = transforms.map { ($0.linear.xx * $0.linear.xx + $0.linear.yx * $0.linear.yx).squareRoot() }
    check(scales, (1 / 1.1)...(1 / 0.9))
    for (transform, scale) in zip(transforms, scales) {
      let map = transform.linear
      #expect(abs(map.xx * map.yy - map.xy * map.yx - scale * scale) < 1e-5)
    }
    // sin 15° = 0.2588.
    check(zip(transforms, scales).map { $0.linear.yx / $1 }, -0.2588...0.2588)
    // Shear: the columns' scalar product over scale² is the shear's tangent.
    check(
      zip(transforms, scales).map {
        ($0.linear.xx * $0.linear.xy + $0.linear.yx * $0.linear.yy) / ($1 * $1)
      }, -0.1003...0.1003)
    check(transforms.map(\.grey.brightness), -0.1...0.1)
    check(transforms.map(\.grey.contrast), 0.85...1.15)
    check(transforms.map(\.grey.gamma), (1 / 1.2)...1.2)
    check(transforms.map(\.grey.noise), 0...0.02)
    #expect(Set(transforms.map(\.grey.noiseSeed)).count == transforms.count)
  }

  @Test func elasticDisplacementsHaveTheirDeviation() {
    func deviation(side: Int) -> Float {
      let values = draws(Augmentation(elastic: 10), side: side).flatMap { $0.elastic.x + $0.elastic.y }
      return (values.reduce(0) { $0 + $1 * $1 } / Float(values.count)).squareRoot()
    }
    #expect(abs(deviation(side: 512) - 10) < 0.4)
    // 5 % of a crop of 100 pixels.
    #expect(abs(deviation(side: 100) - 5) < 0.2)
  }

  @Test func switchingOneVariationOffLeavesTheOthers() {
    var rigid = Augmentation.full
    rigid.elastic = 0
    for (full, rigid) in zip(draws(.full, count: 5), draws(rigid, count: 5)) {
      #expect(full.linear == rigid.linear && full.grey == rigid.grey && full.symmetry == rigid.symmetry)
      #expect(full.elastic != rigid.elastic && rigid.elastic == .none)
    }
  }

  @Test func parametersOutsideTheirRangeAreErrors() throws {
    try Augmentation.none.validate()
    try Augmentation.flips.validate()
    try Augmentation.full.validate()
    let fields: [WritableKeyPath<Augmentation, Float>] = [
      \.shift, \.zoom, \.shear, \.rotation, \.elastic, \.brightness, \.contrast, \.gamma, \.noise,
    ]
    for field in fields {
      for wrong in [-0.01, Float.nan, .infinity] {
        var augmentation = Augmentation.full
        augmentation[keyPath: field] = wrong
        #expect(errorKind { try augmentation.validate() } == .parameter)
      }
    }
  }

  private func apply(_ grey: GreyVariation, to values: [Float]) -> [Float] {
    var values = values
    values.withUnsafeMutableBufferPointer { grey.apply(to: $0) }
    return values
  }

  @Test func greyVariationFollowsItsFormula() {
    let values: [Float] = [0, 0.25, 0.5, 0.75, 1]
    #expect(apply(.none, to: values) == values)
    #expect(apply(GreyVariation(brightness: 0.25), to: values) == [0.25, 0.5, 0.75, 1, 1])
    #expect(apply(GreyVariation(contrast: 0.5), to: values) == [0.25, 0.375, 0.5, 0.625, 0.75])
    #expect(apply(GreyVariation(contrast: 2), to: values) == [0, 0, 0.5, 1, 1])
    #expect(apply(GreyVariation(gamma: 2), to: values) == [0, 0.0625, 0.25, 0.5625, 1])
    for (value, root) in zip(apply(GreyVariation(gamma: 0.5), to: [0.3001, 0.8137]), [0.547814, 0.902053]) {
      #expect(abs(Double(value) - root) < 1e-5)
    }
  }

  @Test func noiseHasItsDeviationAndSeed() {
    let flat = [Float](repeating: 0.5, count: 4000)
    let noisy = apply(GreyVariation(noise: 0.05, noiseSeed: 1), to: flat)
    let mean = noisy.reduce(0, +) / 4000
    let variance = noisy.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / 4000
    #expect(abs(mean - 0.5) < 0.004)
    #expect(abs(variance.squareRoot() - 0.05) < 0.004)
    #expect(apply(GreyVariation(noise: 0.05, noiseSeed: 1), to: flat) == noisy)
    #expect(apply(GreyVariation(noise: 0.05, noiseSeed: 2), to: flat) != noisy)
    let bright = apply(GreyVariation(noise: 0.5, noiseSeed: 3), to: [Float](repeating: 1, count: 100))
    #expect(bright.allSatisfy { $0 >= 0 && $0 <= 1 } && bright.contains(1))
  }
}
