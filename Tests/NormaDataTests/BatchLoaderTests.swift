import NormaFormats
import Testing

@testable import NormaData

@Suite struct BatchLoaderTests {
  private func options(
    crop: Int = 6, batchSize: Int = 3, samples: Int = 10, augmentation: Augmentation = .full,
    weighting: BorderWeighting? = BorderWeighting(), workers: Int = 2, seed: UInt64 = 9
  ) -> SampleOptions {
    SampleOptions(
      crop: crop, batchSize: batchSize, samplesPerEpoch: samples, seed: seed, augmentation: augmentation,
      borderWeighting: weighting, workers: workers)
  }

  private func batches(
    _ data: SegmentationDataset, _ options: SampleOptions, epoch: Int = 0
  ) throws -> [SegmentationBatch] {
    try allBatches(data.batches(options, epoch: epoch))
  }

  @Test func shapesAndTheShorterLastBatch() throws {
    let data = try tellingDataset()
    let loader = try data.batches(options(), epoch: 0)
    #expect(loader.batchCount == 4)
    let batches = try allBatches(loader)
    #expect(batches.map(\.count) == [3, 3, 3, 1])
    for batch in batches {
      #expect(batch.images.count == batch.count * 36 && batch.labels.count == batch.count * 36)
      #expect(batch.weights?.count == batch.count * 36)
      #expect(batch.channels == 1 && batch.height == 6 && batch.width == 6)
    }
    let plain = try self.batches(data, options(weighting: nil))
    #expect(plain.allSatisfy { $0.weights == nil })
    #expect(plain.map(\.images) == batches.map(\.images))
  }

  @Test func samplesDependOnSeedEpochAndIndexOnly() throws {
    let data = try tellingDataset()
    let reference = try batches(data, options(workers: 1))
    #expect(try batches(data, options(workers: 3)) == reference)
    #expect(try batches(data, options(), epoch: 1) != reference)
    #expect(try batches(data, options(seed: 10)) != reference)
    // Other batches, same samples.
    let single = try batches(data, options(batchSize: 1))
    #expect(single.flatMap(\.images) == reference.flatMap(\.images))
    #expect(single.flatMap(\.labels) == reference.flatMap(\.labels))
    // Every augmented sample differs.
    #expect(Set(single.map(\.images)).count == 10)
  }

  @Test func slicesAreUsedEquallyOften() throws {
    let data = try tellingDataset(pages: 4)
    let pages = try batches(data, options(crop: 3, samples: 20)).flatMap(\.pages)
    for page in 0..<4 { #expect(pages.count { $0 == page } == 5) }
    // In random orders of all slices.
    let rounds = stride(from: 0, to: 20, by: 4).map { Array(pages[$0..<$0 + 4]) }
    #expect(rounds.allSatisfy { $0.sorted() == [0, 1, 2, 3] })
    #expect(Set(rounds).count > 1)
    let uneven = try batches(data, options(crop: 3, samples: 6)).flatMap(\.pages)
    for page in 0..<4 { #expect([1, 2].contains(uneven.count { $0 == page })) }
  }

  @Test func samplesComeFromTheirSlice() throws {
    let data = try tellingDataset(pages: 3)
    for batch in try batches(data, options(augmentation: .flips, weighting: nil)) {
      for (index, page) in batch.pages.enumerated() {
        for pixel in index * 36..<(index + 1) * 36 {
          #expect(batch.images[pixel] == (40 * Float(batch.labels[pixel]) + Float(10 * page + 1)) / 255)
        }
      }
    }
  }

  @Test func volumesHoldConsecutiveSlicesThatAreVariedAlike() throws {
    let data = try tellingDataset(pages: 5)
    var options = options(samples: 12)
    options.slices = 3
    let volumes = try batches(data, options)
    #expect(volumes.map(\.count) == [3, 3, 3, 3] && volumes.allSatisfy { $0.slices == 3 && $0.images.count == 9 * 36 })
    let firsts = volumes.flatMap { batch in
      stride(from: 0, to: 9, by: 3).map { start in
        #expect(Array(batch.pages[start..<start + 3]) == (0..<3).map { batch.pages[start] + $0 })
        return batch.pages[start]
      }
    }
    // Every place of a volume equally often, and none beyond the last slice.
    for first in 0..<3 { #expect(firsts.count { $0 == first } == 4) }
    // Every slice as it would be as a sample of its own with the same crop and change; noise alone is its own.
    let plan = EpochPlan(dataset: data, options: options, epoch: 0)
    let planes = volumes.flatMap { batch in
      (0..<batch.pages.count).map { plane in
        let pixels = plane * 36..<(plane + 1) * 36
        return Rendered(
          image: Array(batch.images[pixels]), labels: Array(batch.labels[pixels]),
          weights: Array(batch.weights![pixels]))
      }
    }
    for (index, plane) in planes.enumerated() {
      let sample = plan.sample(index / 3)
      var transform = sample.transform
      transform.grey.noiseSeed &+= UInt64(index % 3)
      let alone = render(
        data, page: sample.page + index % 3, origin: sample.origin, side: 6, transform, weighting: BorderWeighting())
      #expect(plane == alone, "plane \(index)")
    }
    #expect(planes[0].image != planes[1].image)
    // All slices at once leave one place; more there are not.
    options.slices = 5
    #expect(try batches(data, options).allSatisfy { Set($0.pages) == Set(0..<5) })
    options.slices = 6
    #expect(errorKind { try options.validate(for: data) } == .crop)
  }

  @Test func noiseIsOfEverySliceAlone() throws {
    let flat = stack(pages: 3, height: 8, width: 8, format: .float32) { _, _, _, _ in 0.5 }
    let labels = stack(pages: 3, height: 8, width: 8) { _, _, y, _ in y < 4 ? 0 : 1 }
    let data = try SegmentationDataset(images: flat, labels: labels, name: "flat")
    var options = options(batchSize: 1, samples: 1, weighting: nil)
    options.slices = 3
    let batch = try #require(try batches(data, options).first)
    let planes = (0..<3).map { Array(batch.images[$0 * 36..<($0 + 1) * 36]) }
    #expect(Set(planes).count == 3)
    #expect((0..<3).allSatisfy { Array(batch.labels[$0 * 36..<($0 + 1) * 36]) == Array(batch.labels[..<36]) })
  }

  @Test func validationNeverOverlapsTraining() throws {
    let (training, validation) = try tellingDataset(pages: 4).split(validationSlices: 2)
    // Grey value 40·class + 10·slice + 1 tells the slice.
    func slices(_ batches: [SegmentationBatch]) -> Set<Int> {
      Set(batches.flatMap(\.images).map { (Int(($0 * 255).rounded()) - 1) % 40 / 10 })
    }
    #expect(slices(try batches(training, options(augmentation: .flips))) == [0, 1])
    #expect(slices(try allBatches(validation.validationBatches())) == [2, 3])
    #expect(Set(training.stackPages).isDisjoint(with: validation.stackPages))
  }

  @Test func cropsReachEveryPlace() throws {
    let images = stack(height: 4, width: 5, format: .float32) { _, _, y, x in Float(5 * y + x) / 32 }
    let labels = stack(height: 4, width: 5) { _, _, _, x in x > 2 ? 1 : 0 }
    let data = try SegmentationDataset(images: images, labels: labels, name: "places")
    let corners = try batches(
      data, options(crop: 3, samples: 200, augmentation: .none, weighting: nil)
    ).flatMap { batch in (0..<batch.count).map { Int(batch.images[$0 * 9] * 32) } }
    #expect(Set(corners) == [0, 1, 2, 5, 6, 7])
    for corner in Set(corners) { #expect(corners.count { $0 == corner } > 15) }
    // A crop of the slice's height has one row of places left.
    let full = try batches(data, options(crop: 4, samples: 40, augmentation: .none))
    #expect(Set(full.flatMap { [$0.images[0]] }).isSubset(of: [0, Float(1) / 32]))
  }

  @Test func validationDeliversWholeSlicesInOrder() throws {
    let data = try tellingDataset(pages: 5, height: 4, width: 6)
    let loader = try data.validationBatches(batchSize: 2, borderWeighting: BorderWeighting())
    #expect(loader.batchCount == 3)
    let batches = try allBatches(loader)
    #expect(batches.map(\.pages) == [[0, 1], [2, 3], [4]])
    #expect(batches[1].images == data.image(page: 2) + data.image(page: 3))
    #expect(batches[2].labels == data.labels(page: 4))
    #expect(batches[0].weights == data.borderWeights(page: 0) + data.borderWeights(page: 1))
    #expect(batches[0].height == 4 && batches[0].width == 6)
    #expect(try allBatches(data.validationBatches()).allSatisfy { $0.weights == nil })
  }

  @Test func mistakesAreNamed() throws {
    let data = try tellingDataset(height: 6, width: 9)
    func kind(_ change: (inout SampleOptions) -> Void) -> DataError.Kind? {
      var options = options()
      change(&options)
      return errorKind { _ = try data.batches(options, epoch: 0) }
    }
    #expect(kind { _ in } == nil)
    #expect(kind { $0.crop = 7 } == .crop)
    #expect(kind { $0.crop = 0 } == .crop)
    #expect(kind { $0.batchSize = 0 } == .parameter)
    #expect(kind { $0.samplesPerEpoch = 0 } == .parameter)
    #expect(kind { $0.workers = 0 } == .parameter)
    #expect(kind { $0.depth = 0 } == .parameter)
    #expect(kind { $0.augmentation.zoom = 1 } == .parameter)
    #expect(kind { $0.borderWeighting = BorderWeighting(sigma: 0) } == .parameter)
    #expect(errorKind { _ = try data.validationBatches(batchSize: 0) } == .parameter)
  }

  @Test func abandonedLoaderStops() throws {
    let data = try tellingDataset()
    var loader: BatchLoader<SegmentationBatch>? = try data.batches(options(batchSize: 1, samples: 10_000), epoch: 0)
    _ = try loader?.next()
    let core = try #require(loader).prefetcher.core
    loader = nil
    core.underWay.wait()
    #expect(core.isCancelled)
    // One taken and four ahead at most.
    #expect(core.begunCount <= 5)
  }
}
